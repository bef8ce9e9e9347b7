/** Hooks of a configuration: when they run, what they are told, and what a failing one does. */
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Code } from '../../../../agent/protocol/errors.ts';
import { IMAGE_ROOTFS, ShimHarness } from '../../../helpers/shim-harness.ts';
import { eventually } from '../../../helpers/tskata.ts';

let shim: ShimHarness;
let told: string;

beforeEach(async () => {
  shim = await ShimHarness.start({ containerdAddress: '/run/containerd.sock' });
  told = join(shim.directory, 'told');
});

afterEach(async () => {
  await shim.stop();
});

/** A hook that writes down its name, what it was told and its environment, and then does something more. */
function hook(name: string, more = 'true', rest: object = {}): object {
  // One write: two may run at a time.
  const script = `echo "$0 $(cat) $(env | grep -v '^\\(PWD\\|SHLVL\\|_\\)=')" >> ${told}; ${more}`;
  return { path: '/bin/sh', args: ['named', '-c', script, name], env: ['A=b=c'], ...rest };
}

const names = (): string[] => (existsSync(told) ? readFileSync(told, 'utf8').trim().split('\n') : []);

test('each runs at its point, with the state of the container, its own environment and the pid of the stand-in', async () => {
  const hooks = {
    poststop: [hook('poststop')],
    poststart: [hook('poststart'), hook('poststart again')],
    createRuntime: [hook('createRuntime')],
    prestart: [hook('prestart')],
  };
  const { id, bundle } = shim.bundle('one', ['sleep'], { hooks, annotations: { key: 'value' } });
  const { pid } = await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  const state = { ociVersion: '1.1.0', id, status: 'creating', pid, bundle, annotations: { key: 'value' } };
  const line = (name: string, told: object): string => `${name} ${JSON.stringify(told)} A=b=c`;
  const created = [line('prestart', state), line('createRuntime', state)];
  expect(names()).toEqual(created);
  await shim.task.start({ id });
  const running = { ...state, status: 'running' };
  const started = [...created, line('poststart', running), line('poststart again', running)];
  expect(names()).toEqual(started);
  await shim.task.kill({ id, signal: 9 });
  await shim.task.wait({ id });
  expect(names()).toEqual(started);
  await shim.task.delete({ id });
  const { pid: _, ...stopped } = { ...state, status: 'stopped' };
  expect(names()).toEqual([...started, line('poststop', stopped)]);
});

test('one that fails before the start fails the Create with its words, and those of the end run', async () => {
  const hooks = {
    createRuntime: [hook('createRuntime', 'echo no such bridge >&2; exit 3')],
    poststop: [hook('poststop')],
  };
  const { id, bundle } = shim.bundle('one', ['sleep'], { hooks });
  await expect(shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS })).rejects.toThrow(
    /hooks.createRuntime\[0\]: run sh: ended with status 3: no such bridge/,
  );
  expect(names().map((line) => line.split(' ')[0])).toEqual(['createRuntime', 'poststop']);
  expect(shim.standIns.size).toBe(0);
});

test('one that fails after the start fails the Start, and ends the container', async () => {
  const hooks = { poststart: [hook('first', 'exit 1'), hook('second')], poststop: [hook('poststop')] };
  const { id, bundle } = shim.bundle('one', ['sleep'], { hooks });
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  await expect(shim.task.start({ id })).rejects.toThrow('hooks.poststart[0]: run sh: ended with status 1');
  expect((await shim.task.wait({ id })).exitStatus).toBe(137);
  expect(shim.topics).toEqual(['create', 'start', 'exit']);
  await shim.task.delete({ id });
  expect(names().map((line) => line.split(' ')[0])).toEqual(['first', 'poststop']);
});

test('one that has no environment can find programs; one of a bundle that is gone runs all the same', async () => {
  const script = `echo found > ${told}.$(basename "$PATH")`;
  const line = { path: '/bin/sh', args: ['sh', '-c', script] };
  const { id, bundle } = shim.bundle('one', ['sleep'], { hooks: { poststop: [line] } });
  await shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS });
  rmSync(bundle, { recursive: true });
  await shim.task.delete({ id });
  expect(readdirSync(shim.directory).filter((name) => name.startsWith('told.'))).toHaveLength(1);
});

test('one of a Create that nobody waits for any more is ended, and those of the end run', async () => {
  const hooks = { createRuntime: [hook('createRuntime', 'exec sleep 100')], poststop: [hook('poststop')] };
  const { id, bundle } = shim.bundle('one', ['sleep'], { hooks });
  const creating = shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS }, { timeoutMs: 500 });
  await expect(creating).rejects.toMatchObject({ code: Code.DeadlineExceeded });
  await eventually(() => names().at(-1)?.startsWith('poststop') === true, 10_000, 'the end of the Create');
});

test('the end of the sandbox gives up what is being made, and runs those of the end of all containers', async () => {
  const hooks = { poststop: [hook('poststop')] };
  const made = shim.bundle('made', ['sleep'], { hooks });
  await shim.task.create({ ...made, rootfs: IMAGE_ROOTFS });
  const slow = shim.bundle('slow', ['sleep'], { hooks: { ...hooks, prestart: [hook('prestart', 'exec sleep 100')] } });
  const creating = shim.task.create({ ...slow, rootfs: IMAGE_ROOTFS.slice(0, 1) }).catch(() => undefined);
  await eventually(() => names().length === 1, 10_000, 'the slow hook');
  await shim.shim.shutdown('test');
  await creating;
  expect(names().map((line) => line.split(' ')[0])).toEqual(['prestart', 'poststop', 'poststop']);
});

test('one that takes too long is ended', async () => {
  const hooks = { prestart: [hook('prestart', 'exec sleep 100', { timeout: 1 })] };
  const { id, bundle } = shim.bundle('one', ['sleep'], { hooks });
  await expect(shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS })).rejects.toMatchObject({
    code: Code.DeadlineExceeded,
    message: expect.stringContaining('no end within 1000 ms'),
  });
});

test.each([
  [{ startContainer: [{ path: '/bin/true' }] }, 'hooks.startContainer: run in the container'],
  [{ prestart: [{ path: 'true' }] }, 'hooks.prestart[0].path: must be an absolute path'],
  [{ poststop: [{ path: '/bin/true', timeout: 0 }] }, 'hooks.poststop[0].timeout: must be above 0'],
  [{ poststart: [{ path: '/bin/true', env: ['x'] }] }, 'hooks.poststart[0].env[0]: must be NAME=value'],
])('%j is refused before anything is made', async (hooks, words) => {
  const { id, bundle } = shim.bundle('one', ['sleep'], { hooks });
  await expect(shim.task.create({ id, bundle, rootfs: IMAGE_ROOTFS })).rejects.toThrow(words);
  expect(shim.vms.machines).toEqual([]);
});

test("a bundle of the command's user may not order programs of the host", async () => {
  const other = await ShimHarness.start();
  const { id, bundle } = other.bundle('one', ['sleep'], { hooks: { prestart: [hook('prestart')] } });
  await expect(other.task.create({ id, bundle, rootfs: IMAGE_ROOTFS })).rejects.toThrow('hooks: programs to run on');
  expect(names()).toEqual([]);
  await other.stop();
});
