/** Owns how a hook is run: on the host, in the shim's namespaces, with the environment that its configuration says. */
import { existsSync } from 'node:fs';
import { run } from '../runtime/host/process.ts';
import type { RunHook } from '../runtime/sandbox/hooks.ts';

export const runHook: RunHook = async ({ path, args, env, cwd, input, timeoutMs, signal }) => {
  const [name = path, ...rest] = args;
  const cancel = new AbortController();
  const onAbort = (): void => cancel.abort();
  signal?.addEventListener('abort', onAbort);
  if (signal?.aborted) cancel.abort();
  try {
    await run(path, rest, {
      name,
      exactEnv: env === undefined ? { PATH: process.env.PATH ?? '' } : variables(env),
      // Whoever cleans up may come after the bundle went.
      cwd: existsSync(cwd) ? cwd : '/',
      input,
      timeoutMs,
      signal: cancel.signal,
    });
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
};

function variables(env: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    env.map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]),
  );
}
