/** `delete` of the shim as containerd runs it, with a stand-in for the shim's program: what is ended, removed and answered. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { findProcess } from '../../runtime/state/process-ref.ts';
import { encodeRecord } from '../../runtime/state/record.ts';
import { LaunchedShims } from '../helpers/launched-shims.ts';
import { eventually } from '../helpers/tskata.ts';

let shims: LaunchedShims;

beforeAll(async () => {
  shims = await LaunchedShims.build();
});

beforeEach(() => shims.newBundle());

afterAll(() => shims.remove());

test('delete of what nobody knows is an answer', () => {
  const first = shims.delete('nobody');
  expect(first).toMatchObject({ pid: 0, exitStatus: 137 });
  expect(Math.abs(Number(first.exitedAt?.seconds) - Date.now() / 1000)).toBeLessThan(5);
  expect(shims.delete('nobody').exitStatus).toBe(137);
});

test('delete unmounts what is on the rootfs of its bundle, and nothing that a link leads to', () => {
  const elsewhere = mkdtempSync(join(shims.build.directory, 'elsewhere-'));
  const isMounted = (path: string): boolean => readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${path} `);
  mkdirSync(join(elsewhere, 'rootfs'));
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', join(elsewhere, 'rootfs')]);
  symlinkSync(join(elsewhere, 'rootfs'), join(shims.bundle, 'rootfs'));
  shims.delete('nobody');
  expect(isMounted(join(elsewhere, 'rootfs'))).toBe(true);
  rmSync(shims.bundle, { recursive: true });
  symlinkSync(elsewhere, shims.bundle);
  shims.delete('nobody');
  expect(isMounted(join(elsewhere, 'rootfs'))).toBe(true);
  rmSync(shims.bundle);
  shims.bundle = elsewhere;
  shims.delete('nobody');
  expect(isMounted(join(elsewhere, 'rootfs'))).toBe(false);
});

function writeRecord(id: string, sandbox: string, shim: { pid: number; startTicks: number }, exit?: object): string {
  const directory = join(shims.build.runRoot, 'default', id);
  mkdirSync(join(directory, 'deep', 'er'), { recursive: true });
  writeFileSync(join(directory, 'deep', 'er', 'file'), 'x');
  symlinkSync('/etc', join(directory, 'deep', 'link'));
  writeFileSync(
    join(directory, 'state.json'),
    encodeRecord({
      version: 1,
      namespace: 'default',
      id,
      sandbox,
      bundle: shims.bundle,
      socket: '/x',
      shim,
      status: 'running',
      createdAt: new Date().toISOString(),
      annotations: {},
      ...exit,
    }),
  );
  return directory;
}

test('delete ends what the record names, and removes its directory', async () => {
  const sleeper = spawn('sleep', ['1000']);
  const shim = findProcess(sleeper.pid ?? 0);
  if (shim === undefined) throw new Error('no process');
  const directory = writeRecord('dead', 'dead', shim);
  const ended = once(sleeper, 'exit');
  expect(shims.delete('dead').exitStatus).toBe(137);
  expect((await ended)[1]).toBe('SIGKILL');
  expect(existsSync(directory)).toBe(false);
  expect(existsSync('/etc/passwd')).toBe(true);
});

test('delete is done within the 5 s that containerd gives it, though all hang', async () => {
  mkdirSync(join(shims.build.runRoot, 's'), { recursive: true });
  const lock = join(shims.build.runRoot, 's/.lock');
  const holder = spawn('flock', ['--no-fork', '-x', lock, 'sh', '-c', 'echo held; kill -STOP $$'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  const hanging = ['shim', 'keeper', 'qemu'].map((name) => {
    const child = spawn('sleep', ['1000']);
    child.kill('SIGSTOP');
    return { name, ref: findProcess(child.pid ?? 0), ended: once(child, 'exit') };
  });
  const [shim, ...others] = hanging;
  if (shim?.ref === undefined) throw new Error('no process');
  writeRecord('hung', 'hung', shim.ref, Object.fromEntries(others.map(({ name, ref }) => [name, ref])));
  const before = performance.now();
  expect(shims.delete('hung').exitStatus).toBe(137);
  expect(performance.now() - before).toBeLessThan(5_000);
  for (const { ended } of hanging) expect((await ended)[1]).toBe('SIGKILL');
  holder.kill('SIGKILL');
  await once(holder, 'exit');
});

test('delete never touches a later process with the same number', () => {
  const sleeper = spawn('sleep', ['1000']);
  const ref = findProcess(sleeper.pid ?? 0);
  if (ref === undefined) throw new Error('no process');
  writeRecord('reused', 'reused', { pid: ref.pid, startTicks: ref.startTicks - 1 });
  shims.delete('reused');
  expect(findProcess(ref.pid)).toEqual(ref);
  sleeper.kill('SIGKILL');
});

test('delete of a container never ends the machine of its pod', () => {
  const sleeper = spawn('sleep', ['1000']);
  const ref = findProcess(sleeper.pid ?? 0);
  if (ref === undefined) throw new Error('no process');
  const directory = writeRecord('member', 'podsandbox', ref);
  shims.delete('member');
  expect(findProcess(ref.pid)).toEqual(ref);
  expect(existsSync(directory)).toBe(false);
  sleeper.kill('SIGKILL');
});

test('delete leaves a shim alone that was started after it, for the same id', async () => {
  const line = shims.args('delete', 'again');
  // A delete that is old when it runs: exec keeps the time at which the process began.
  const late = spawn('sh', ['-c', 'kill -STOP $$; exec "$0" "$@"', shims.launcher, ...line], {
    env: shims.environment,
  });
  await eventually(() => /^State:\tT/m.test(readFileSync(`/proc/${late.pid}/status`, 'utf8')), 5_000, 'the stop');
  await sleep(50);
  const sleeper = spawn('sleep', ['1000']);
  const ref = findProcess(sleeper.pid ?? 0);
  if (ref === undefined) throw new Error('no process');
  const directory = writeRecord('again', 'again', ref);
  late.kill('SIGCONT');
  expect(await once(late, 'exit')).toEqual([0, null]);
  expect(findProcess(ref.pid)).toEqual(ref);
  expect(existsSync(directory)).toBe(true);
  sleeper.kill('SIGKILL');
});

test('delete ends a shim that came to no Create', async () => {
  const address = await shims.start('early');
  const { pid } = await shims.facts(address);
  shims.delete('early');
  await eventually(() => findProcess(pid) === undefined, 5_000, 'the end of the shim');
  shims.hasEnded(pid);
  expect(existsSync(address.replace('unix://', ''))).toBe(false);
  expect(existsSync(join(shims.build.runRoot, 'default', 'early'))).toBe(false);
});

test('delete ends a new shim though an earlier container of its id left a record', async () => {
  const directory = writeRecord('reborn', 'reborn', { pid: 4_000_000, startTicks: 1 });
  const { pid } = await shims.facts(await shims.start('reborn'));
  expect(existsSync(join(directory, 'state.json'))).toBe(false);
  shims.delete('reborn');
  await eventually(() => findProcess(pid) === undefined, 5_000, 'the end of the shim');
  shims.hasEnded(pid);
  expect(existsSync(directory)).toBe(false);
});

test('delete answers with a recorded exit', () => {
  const at = '2024-05-06T07:08:09.250Z';
  writeRecord('exited', 'exited', { pid: 4_000_000, startTicks: 1 }, { exit: { status: 3, at, oomKilled: false } });
  const answer = shims.delete('exited');
  expect(answer.exitStatus).toBe(3);
  expect(Number(answer.exitedAt?.seconds)).toBe(Math.floor(Date.parse(at) / 1000));
  expect(answer.exitedAt?.nanos).toBe(250_000_000);
});
