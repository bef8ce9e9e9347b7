/**
 * One part of a running sandbox dies or stops: the machine, the shim, the keeper. Exits are known at once, commands
 * work on, nothing is left.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { OUT_OF_MEMORY } from '../../runtime/sandbox/process.ts';
import { isAlive } from '../../runtime/state/process-ref.ts';
import type { ContainerRecord } from '../../runtime/state/record.ts';
import { StateStore } from '../../runtime/state/store.ts';
import { ending, eventually, Tskata, watchOutput } from '../helpers/tskata.ts';

let tskata: Tskata;
let store: StateStore;

beforeAll(async () => {
  tskata = await Tskata.withBusybox();
  store = new StateStore(tskata.runRoot);
});

afterEach(async () => {
  for (const { id } of store.list()) await tskata.call(['rm', '-f', id]);
  // What a crash left goes with the next command, once all that it concerns has ended.
  const isClean = async () => (await tskata.call(['list'])).status === 0 && tskata.leaks().length === 0;
  await eventually(isClean, 3_000, 'a clean machine').catch(() => undefined);
  expect(tskata.leaks()).toEqual([]);
});

afterAll(() => tskata.dispose());

/** A running container that does nothing, and its record. */
async function detached(...command: string[]): Promise<ContainerRecord> {
  const id = await tskata.ok(
    'run',
    '-d',
    '--network',
    'none',
    'busybox',
    ...(command.length > 0 ? command : ['sleep', '1000']),
  );
  const record = store.find('default', id);
  if (record === undefined) throw new Error('no record');
  return record;
}

function alive(record: ContainerRecord): string[] {
  const processes = { shim: record.shim, keeper: record.keeper, qemu: record.qemu };
  return Object.entries(processes).flatMap(([name, ref]) => (ref !== undefined && isAlive(ref) ? [name] : []));
}

const exitOf = (record: ContainerRecord) => store.find('default', record.id)?.exit;

test('QEMU is killed: the exit is recorded within a second, with its reason', async () => {
  const record = await detached();
  expect(alive(record)).toEqual(['shim', 'keeper', 'qemu']);
  const killedMs = performance.now();
  process.kill(record.qemu?.pid ?? 0, 'SIGKILL');
  await eventually(() => exitOf(record) !== undefined, 2_000, 'an exit');
  expect(performance.now() - killedMs).toBeLessThan(1_500);
  expect(exitOf(record)).toMatchObject({
    status: 137,
    reason: expect.stringContaining('the virtual machine ended (killed)'),
  });
  await eventually(() => alive(record).length === 0, 3_000, 'the end of the shim');
  expect(JSON.parse(await tskata.ok('list', '--json'))).toMatchObject([{ status: 'stopped', exitStatus: 137 }]);
});

test('the keeper is killed: as if QEMU had been', async () => {
  const record = await detached();
  process.kill(record.keeper?.pid ?? 0, 'SIGKILL');
  await eventually(() => alive(record).length === 0, 4_000, 'the end of all');
  expect(exitOf(record)).toMatchObject({ status: 137 });
});

test('the shim is killed: the machine ends within a second, the next command cleans up', async () => {
  const record = await detached();
  process.kill(record.shim.pid, 'SIGKILL');
  await eventually(() => alive(record).length === 0, 1_000, 'the end of keeper and machine');
  expect(JSON.parse(await tskata.ok('list', '--json'))).toMatchObject([{ status: 'stopped', exitStatus: 137 }]);
});

test('the shim is asked to end: in order, and the exit is recorded', async () => {
  const record = await detached();
  process.kill(record.shim.pid, 'SIGTERM');
  await eventually(() => alive(record).length === 0, 6_000, 'the end of all');
  expect(exitOf(record)).toMatchObject({ status: 137 });
});

test('QEMU is stopped: a kill still ends the container', { timeout: 60_000 }, async () => {
  const record = await detached();
  process.kill(record.qemu?.pid ?? 0, 'SIGSTOP');
  await tskata.ok('kill', record.id);
  await eventually(() => exitOf(record) !== undefined, 5_000, 'an exit');
  expect(exitOf(record)).toMatchObject({ status: 137, reason: expect.stringContaining('did not carry out a kill') });
});

test('QEMU is killed under a foreground run: its exit code, and why', async () => {
  const child = tskata.start(['run', '--rm', '--network', 'none', 'busybox', 'sh', '-c', 'echo up; sleep 1000']);
  const output = watchOutput(child);
  await output.until(/up/);
  const [record] = store.list().flatMap((stored) => stored.record ?? []);
  process.kill(record?.qemu?.pid ?? 0, 'SIGKILL');
  expect(await ending(child)).toBe(137);
  expect(output.text()).toContain('the virtual machine ended (killed)');
});

test('a container eats its memory: 137, and the record says that it was for memory', async () => {
  const eat = ['run', '--network', 'none', '-m', '32m', 'busybox', 'tail', '/dev/zero'];
  const { status, stderr } = await tskata.call(eat);
  expect({ status, stderr }).toEqual({ status: 137, stderr: `tskata: ${OUT_OF_MEMORY}\n` });
  expect(store.list()[0]?.record?.exit).toMatchObject({ status: 137, oomKilled: true });
});

test('a guest eats all of its memory: it says so, and ends or goes on', { timeout: 90_000 }, async () => {
  const { status, stderr } = await tskata.call(['run', '--rm', '--network', 'none', 'busybox', 'tail', '/dev/zero']);
  expect(status).toBe(137);
  expect(stderr).toMatch(/ran out of memory|the virtual machine ended/);
});

test('a device as a volume is refused by name', async () => {
  const device = await tskata.call(['run', '--rm', '-v', '/dev/null:/x', 'busybox', 'true']);
  expect(device).toMatchObject({ status: 125, stderr: expect.stringContaining('it is a device') });
});

test('a bundle with unknown or wrong fields is refused by path before anything starts', async () => {
  const bundle = join(tskata.directory, 'bundle');
  mkdirSync(join(bundle, 'rootfs'), { recursive: true });
  const config = { ociVersion: '1.1.0', process: { args: ['true'], cwd: '/' }, root: { path: 'rootfs' } };
  for (const [change, path] of [
    [{ linux: { resources: { memory: { limitt: 1 } } } }, 'linux.resources.memory.limitt'],
    [{ mounts: [{ destination: 'relative', type: 'proc' }] }, 'mounts[0].destination'],
    [{ process: { args: [], cwd: '/' } }, 'process.args'],
  ] as const) {
    writeFileSync(join(bundle, 'config.json'), JSON.stringify({ ...config, ...change }));
    const { status, stderr } = await tskata.call(['run', '--rm', '--bundle', bundle]);
    expect([status, stderr]).toEqual([125, expect.stringContaining(path)]);
  }
});
