/** Owns how a hook is run: on the host, in the shim's namespaces, with the environment of its configuration alone. */
import { run } from '../runtime/host/process.ts';
import type { RunHook } from '../runtime/sandbox/hooks.ts';

export const runHook: RunHook = async ({ path, args, env, cwd, input, timeoutMs }) => {
  const [name = path, ...rest] = args;
  const variables = env.map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]);
  await run(path, rest, { name, exactEnv: Object.fromEntries(variables), cwd, input, timeoutMs });
};
