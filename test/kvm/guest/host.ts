/**
 * What the tests inside the KVM host share: a `tskata` with the busybox image, and the patience that a guest needs whose
 * every exit to the host is itself emulated. Refuses to run anywhere else: it changes files of the checkout, which in
 * the host are a copy in memory.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { type Result, Tskata } from '../../helpers/tskata.ts';

const execute = promisify(execFile);
const ROOT = join(import.meta.dirname, '../../..');
/** A boot of 1 s on hardware takes 10 s here, and 40 s when the machine outside is busy. */
const BOOT_TIMEOUT_MS = 240_000;

/** What lies here goes back to the machine outside. */
const RESULTS = '/run/results';
/** Time for one call of `tskata run`. */
const RUN_MS = 150_000;
/** Time for a hook or a test around it. */
export const HOOK_MS = 240_000;
/** The host's own address, and that of the only other machine on its network: the network namespace "outside". */
export const HOST_ADDRESS = '192.0.2.2';
export const OUTSIDE_ADDRESS = '192.0.2.1';

let shared: Promise<Tskata> | undefined;

/** The command with busybox in its store, made once for all files. It goes with the host. */
export function hostTskata(): Promise<Tskata> {
  beInKvmHost();
  shared ??= Tskata.withBusybox();
  return shared;
}

/** Throws anywhere but in the KVM host, and makes the machine profiles patient. */
export function beInKvmHost(): void {
  const root = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .find((line) => line.split(' ')[1] === '/');
  if (process.env.TSKATA_KVM_HOST !== '1' || !root?.startsWith('overlay ')) {
    throw new Error('these tests run only inside the KVM host: npm run test:kvm');
  }
  for (const directory of ['qemu-configs', 'build/lib/qemu-configs'].map((path) => join(ROOT, path))) {
    for (const name of readdirSync(directory).filter((entry) => entry.endsWith('.json'))) {
      const file = join(directory, name);
      const profile = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
      if (profile.bootTimeoutMs === BOOT_TIMEOUT_MS) continue;
      writeFileSync(file, JSON.stringify({ ...profile, bootTimeoutMs: BOOT_TIMEOUT_MS }, null, 2));
    }
  }
}

/** `tskata ...` with time for a machine; when that is not enough, it throws what shim and guest have logged. */
export async function callPatiently(tskata: Tskata, args: readonly string[]): Promise<Result> {
  const begun = performance.now();
  const result = await tskata.call(args, { timeoutMs: RUN_MS });
  if (performance.now() - begun < RUN_MS) return result;
  const logs = await host('sh', '-c', `tail -n 15 ${tskata.runRoot}/default/*/*.log`).catch(String);
  await host('cp', '-r', tskata.runRoot, join(RESULTS, `run-${basename(tskata.directory)}`)).catch(String);
  for (const id of new Set(tskata.records().map((path) => basename(path)))) await tskata.call(['rm', '-f', id]);
  throw new Error(`tskata ${args.join(' ')} did not end: ${JSON.stringify(result)}\n${logs}`);
}

/** Runs a program of the host; rejects with its words. */
export async function host(program: string, ...args: string[]): Promise<string> {
  const { stdout } = await execute(program, args, { timeout: 60_000 });
  return stdout.trim();
}
