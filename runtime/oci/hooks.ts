/** Owns which hooks of a configuration can be carried out for a machine, and what their values must be (OCI config.md, "POSIX-platform Hooks"). */
import type { Spec, SpecHook } from './spec.ts';

/** Points of a container's life at which hooks run on the host, in its own namespaces. */
const HOST_POINTS = ['prestart', 'createRuntime', 'poststart', 'poststop'] as const;
/** Points at which they would run in the mount namespace of the container, which is in the machine. */
const GUEST_POINTS = ['createContainer', 'startContainer'] as const;

/** Such a point. */
export type HookPoint = (typeof HOST_POINTS)[number];

/** What is wrong with hooks: path, and why. */
export function* hookProblems(hooks: Spec['hooks'] = {}): Generator<readonly [string, string]> {
  for (const point of HOST_POINTS) {
    for (const [index, hook] of (hooks[point] ?? []).entries()) yield* problemsOf(hook, `hooks.${point}[${index}]`);
  }
  for (const point of GUEST_POINTS) {
    if ((hooks[point] ?? []).length === 0) continue;
    yield [
      `hooks.${point}`,
      "run in the container's mount namespace, which is inside a machine: use createRuntime, which runs on the host",
    ];
  }
}

/** Whether a configuration has programs to run on the host. */
export function hasHooks({ hooks = {} }: Spec): boolean {
  return HOST_POINTS.some((point) => (hooks[point] ?? []).length > 0);
}

function* problemsOf({ path, env, timeout }: SpecHook, at: string): Generator<readonly [string, string]> {
  if (!path.startsWith('/')) yield [`${at}.path`, 'must be an absolute path'];
  if (timeout !== undefined && timeout <= 0) yield [`${at}.timeout`, 'must be above 0 (seconds)'];
  for (const [index, entry] of (env ?? []).entries()) {
    if (!/^[^=]+=/.test(entry)) yield [`${at}.env[${index}]`, 'must be NAME=value'];
  }
}
