/**
 * Real containerds and their `ctr` in front of the shim: run, exec, metrics, pause, kill, delete, and the events in
 * between.
 */
import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findGroups } from '../helpers/containerd/leaks.ts';
import { CONTAINERD_RELEASES } from '../helpers/containerd/programs.ts';
import { Containerd } from '../helpers/containerd.ts';
import { eventually, watchOutput } from '../helpers/tskata.ts';

const BUSYBOX = '/bin/busybox';

describe.each(CONTAINERD_RELEASES)('containerd %s', (release) => {
  let containerd: Containerd;
  let rootfs: string;

  beforeAll(async () => {
    containerd = await Containerd.start({ release, withoutImages: true });
    rootfs = join(containerd.directory, 'rootfs');
    for (const name of ['bin', 'proc', 'sys', 'dev', 'etc', 'tmp']) mkdirSync(join(rootfs, name), { recursive: true });
    copyFileSync(BUSYBOX, join(rootfs, 'bin/busybox'));
    symlinkSync('busybox', join(rootfs, 'bin/sh'));
  });

  afterAll(() => containerd?.dispose());

  const ctr = (...args: readonly string[]) => containerd.ctr(args);

  const run = (flags: readonly string[], id: string, ...command: string[]) =>
    ctr('run', ...flags, '--runtime', 'io.containerd.tskata.v2', '--rootfs', rootfs, id, ...command);

  test('a container runs in a kernel of its own, its exit code comes back, and its group on the host goes', async () => {
    const id = `one-${process.pid}`;
    const groups = (): string[] => findGroups(`default/${id}`);
    const going = run(['--rm'], id, '/bin/busybox', 'sh', '-c', 'uname -r; sleep 1; exit 9');
    await eventually(() => groups().length > 0, 30_000, 'a group of the container');
    const { status, stdout } = await going;
    expect(status).toBe(9);
    expect(stdout).toMatch(/tskata/);
    await eventually(() => groups().length === 0, 20_000, 'no group of the container');
  });

  test('a missing program is told in the words that clients know', async () => {
    const { status, stderr } = await run(['--rm'], 'none', '/bin/nope');
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/exec: "\/bin\/nope": .*no such file or directory/);
  });

  test('containers of one pod share a machine, which outlives them', { timeout: 120_000 }, async () => {
    const kind = (type: string) => [
      ...['--annotation', `io.kubernetes.cri.container-type=${type}`],
      ...['--annotation', 'io.kubernetes.cri.sandbox-id=pod'],
    ];
    expect((await run(['-d', ...kind('sandbox')], 'pod', '/bin/busybox', 'sleep', '1000')).status).toBe(0);
    const boot = 'cat /proc/sys/kernel/random/boot_id';
    const first = await run(['--rm', ...kind('container')], 'app1', '/bin/busybox', 'sh', '-c', `${boot}; exit 3`);
    const second = await run(['--rm', ...kind('container')], 'app2', '/bin/busybox', 'sh', '-c', boot);
    expect([first.status, second.status]).toEqual([3, 0]);
    expect(second.stdout).toMatch(/^[0-9a-f-]{36}\n$/);
    expect(first.stdout).toBe(second.stdout);
    expect((await ctr('task', 'ls')).stdout).toMatch(/pod\s+\d+\s+RUNNING/);
    await ctr('task', 'kill', '-s', 'SIGKILL', 'pod');
    await eventually(async () => /STOPPED/.test((await ctr('task', 'ls')).stdout), 10_000, 'the end of the pod');
    await ctr('task', 'rm', 'pod');
    await ctr('container', 'rm', 'pod');
  });

  test('the life of a task, with its events in order', { timeout: 120_000 }, async () => {
    const events = containerd.namespaces.start([...containerd.ctrCommand, 'events']);
    const seen = watchOutput(events);
    expect((await run(['-d'], 'life', '/bin/busybox', 'sleep', '1000')).status).toBe(0);
    expect((await ctr('task', 'ls')).stdout).toMatch(/life\s+\d+\s+RUNNING/);
    const exec = await ctr('task', 'exec', '--exec-id', 'e1', 'life', '/bin/busybox', 'echo', 'in exec');
    expect(exec).toMatchObject({ status: 0, stdout: 'in exec\n' });
    expect((await ctr('task', 'exec', '--exec-id', 'e2', 'life', '/bin/busybox', 'sh', '-c', 'exit 3')).status).toBe(3);
    expect((await ctr('task', 'metrics', 'life')).stdout).toMatch(/memory.usage_in_bytes|memory.usage\s/);
    await ctr('task', 'pause', 'life');
    expect((await ctr('task', 'ls')).stdout).toMatch(/life\s+\d+\s+PAUSED/);
    await ctr('task', 'resume', 'life');
    await ctr('task', 'kill', '-s', 'SIGKILL', 'life');
    await eventually(async () => /STOPPED/.test((await ctr('task', 'ls')).stdout), 10_000, 'the end of the task');
    expect((await ctr('task', 'metrics', 'life')).stdout).toMatch(/memory.usage_in_bytes|memory.usage\s/);
    await ctr('task', 'rm', 'life');
    await ctr('container', 'rm', 'life');
    await seen.until(/containers\/delete/, 10_000);
    events.kill();
    const topics = [...seen.text().matchAll(/\/tasks\/([a-z-]+)/g)].map((match) => match[1]);
    expect(topics).toEqual([
      ...['create', 'start'],
      ...['exec-added', 'exec-started', 'exit', 'delete'],
      ...['exec-added', 'exec-started', 'exit', 'delete'],
      ...['paused', 'resumed', 'exit', 'delete'],
    ]);
  });
});
