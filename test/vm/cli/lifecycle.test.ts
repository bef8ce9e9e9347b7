/** Containers that outlive their command: detach, list, state, exec, logs, kill, stop, rm. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ending, eventually, Tskata, watchOutput } from '../../helpers/tskata.ts';

describe('a detached container', () => {
  let tskata: Tskata;

  beforeAll(async () => {
    tskata = await Tskata.withBusybox();
  });
  afterEach(async () => {
    const ids = (await tskata.ok('list', '-q')).split('\n').filter(Boolean);
    for (const id of ids) await tskata.ok('rm', '-f', id);
    expect(tskata.leaks()).toEqual([]);
  });
  afterAll(() => tskata.dispose());

  const run = (...args: string[]) => tskata.ok('run', '-d', ...args);
  interface Row {
    readonly id: string;
    readonly name: string;
    readonly status: string;
    readonly exitStatus?: number;
  }
  const rows = async () => JSON.parse(await tskata.ok('list', '--json')) as Row[];

  it('is listed, has a state, and is found by name and by the beginning of its id', async () => {
    const id = await run('--name', 'one', 'busybox', 'sleep', '1000');
    expect(await rows()).toMatchObject([{ id, name: 'one', status: 'running' }]);
    const state = JSON.parse(await tskata.ok('state', id.slice(0, 8))) as { status: string; pid: number };
    expect(state.status).toBe('running');
    expect(state.pid).toBeGreaterThan(1);
    const twice = await tskata.call(['run', '-d', '--name', 'one', 'busybox', 'true']);
    expect(twice.status).toBe(125);
    expect(twice.stderr).toContain('--name one: container');
    expect((await tskata.call(['state', 'none-such'])).stderr).toContain('no such container');
  });

  it('gets its name when eight ask for it at once, the others are told who has it', { timeout: 120_000 }, async () => {
    const words = ['run', '-d', '--network', 'none', '--name', 'wanted', 'busybox', 'sleep', '1000'];
    const asked = await Promise.all(Array.from({ length: 8 }, () => tskata.call(words)));
    expect(asked.map(({ status }) => status).toSorted()).toEqual([0, ...Array(7).fill(125)]);
    for (const { stderr } of asked.filter(({ status }) => status === 125)) {
      expect(stderr).toMatch(
        /--name wanted: (process \d+ is starting a container with it|container [0-9a-f]{12} has it)/,
      );
    }
    const [won] = asked.filter(({ status }) => status === 0);
    expect(await rows()).toMatchObject([{ id: won?.stdout.trim(), name: 'wanted' }]);
    await tskata.ok('rm', '-f', 'wanted');
    expect(readdirSync(join(tskata.runRoot, '.names'))).toEqual([]);
    // A run that failed has given its name back.
    expect((await tskata.call(['run', '--name', 'wanted', '--pull', 'never', 'nobody/has-this'])).status).toBe(125);
    expect(readdirSync(join(tskata.runRoot, '.names'))).toEqual([]);
  });

  it('keeps exit code and log after its end', async () => {
    const id = await run('busybox', 'sh', '-c', 'echo out; echo err >&2; exit 9');
    await eventually(async () => (await rows())[0]?.status === 'stopped', 20_000, 'the container has stopped');
    expect((await rows())[0]?.exitStatus).toBe(9);
    await eventually(() => tskata.leaks().every((leak) => !leak.startsWith('process')), 5_000, 'no process is left');
    const logs = await tskata.call(['logs', id]);
    expect([logs.stdout, logs.stderr]).toEqual(['out\n', 'err\n']);
    expect(await tskata.ok('logs', '-t', '-n', '2', id)).toMatch(/^\d{4}-\d\d-\d\dT/);
    await tskata.ok('rm', id);
    expect(await rows()).toEqual([]);
  });

  it('disappears by itself with --rm', async () => {
    await run('--rm', 'busybox', 'true');
    await eventually(async () => (await rows()).length === 0 && tskata.leaks().length === 0, 20_000, 'nothing is left');
  });

  it('runs further programs, with their exit codes', async () => {
    const id = await run('-e', 'A=1', 'busybox', 'sleep', '1000');
    const result = await tskata.call(['exec', '-e', 'B=2', '-w', '/tmp', id, 'sh', '-c', 'echo $A$B $PWD; exit 5']);
    expect(result.status).toBe(5);
    expect(result.stdout).toBe('12 /tmp\n');
    expect((await tskata.call(['exec', '-i', id, 'cat'], { input: 'through' })).stdout).toBe('through');
    expect((await tskata.call(['exec', id, 'no-such'])).status).toBe(127);
    expect((await tskata.call(['exec', '-u', '1000', id, 'id', '-u'])).stdout.trim()).toBe('1000');
    expect(await tskata.ok('exec', '-d', id, 'touch', '/made')).toBe('');
    await eventually(
      async () => (await tskata.call(['exec', id, 'test', '-e', '/made'])).status === 0,
      10_000,
      '/made is there',
    );
  });

  it('follows its log until the end', async () => {
    const id = await run('busybox', 'sh', '-c', 'echo one; sleep 2; echo two');
    const follower = tskata.start(['logs', '-f', id]);
    const output = watchOutput(follower);
    const status = ending(follower);
    await output.until(/one\n/);
    expect(await status).toBe(0);
    expect(output.text()).toBe('one\ntwo\n');
  });

  it('is asked to stop, and killed when it does not', { timeout: 120_000 }, async () => {
    const heeding = 'trap "exit 3" TERM; echo ready; while :; do sleep 0.1; done';
    const polite = await run('busybox', 'sh', '-c', heeding);
    await eventually(async () => (await tskata.ok('logs', polite)) === 'ready', 10_000, 'the trap is set');
    await tskata.ok('stop', polite);
    const deaf = await run('--stop-signal', 'USR1', 'busybox', 'sh', '-c', 'trap "" USR1; while :; do sleep 0.1; done');
    await tskata.ok('stop', '-t', '1', deaf);
    // Without a handler a process 1 is as deaf.
    const plain = await run('busybox', 'sleep', '1000');
    await tskata.ok('stop', '-t', '1', plain);
    const codes = new Map((await rows()).map(({ id, exitStatus }) => [id, exitStatus]));
    expect(codes.get(polite)).toBe(3);
    expect(codes.get(deaf)).toBe(137);
    expect(codes.get(plain)).toBe(137);
  });

  it('gets signals by kill', async () => {
    const id = await run(
      'busybox',
      'sh',
      '-c',
      'trap "echo got; exit 0" USR2; echo ready; while :; do sleep 0.1; done',
    );
    expect((await tskata.call(['kill', '-s', 'NOPE', id])).stderr).toContain('not a signal');
    await eventually(async () => (await tskata.ok('logs', id)) === 'ready', 10_000, 'the trap is set');
    await tskata.ok('kill', '-s', 'USR2', id);
    await eventually(async () => (await rows())[0]?.status === 'stopped', 20_000, 'the container has stopped');
    expect(await tskata.ok('logs', id)).toBe('ready\ngot');
  });

  it('is not removed while it runs', async () => {
    const id = await run('busybox', 'sleep', '1000');
    expect((await tskata.call(['rm', id])).stderr).toContain('stop it first');
    expect((await tskata.call(['rmi', 'busybox'])).stderr).toContain(id.slice(0, 12));
  });

  it('leaves no file when its directory is taken away by hand', async () => {
    const id = await run('busybox', 'sleep', '1000');
    const shim = JSON.parse(await tskata.ok('state', id)) as { bundle: string };
    rmSync(shim.bundle, { recursive: true });
    await tskata.ok('rm', '-f', id);
  });
});
