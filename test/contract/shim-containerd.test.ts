/**
 * A real containerd and its `ctr` in front of the shim: run, exec, metrics, pause, kill, delete, and the events in
 * between. Skipped where there is no containerd.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import {
  accessSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ending, eventually, watchOutput } from '../helpers/tskata.ts';

const CONTAINERD = '/usr/bin/containerd';
const BUSYBOX = '/bin/busybox';
const BIN = join(process.env.TSKATA_TEST_BUILD ?? join(import.meta.dirname, '../../build'), 'bin');
const missing = [CONTAINERD, BUSYBOX].filter((path) => !existsSync(path));
if (missing.length > 0) process.stderr.write(`skipped: containerd tests, without ${missing.join(' and ')}\n`);

describe.skipIf(missing.length > 0)('containerd', () => {
  let directory: string;
  let daemon: ChildProcess;
  let rootfs: string;

  beforeAll(async () => {
    accessSync(join(BIN, 'containerd-shim-tskata-v2'));
    directory = mkdtempSync(join(tmpdir(), 'tsk-'));
    rootfs = join(directory, 'rootfs');
    for (const name of ['bin', 'proc', 'sys', 'dev', 'etc', 'tmp']) mkdirSync(join(rootfs, name), { recursive: true });
    copyFileSync(BUSYBOX, join(rootfs, 'bin/busybox'));
    symlinkSync('busybox', join(rootfs, 'bin/sh'));
    const config = [
      'version = 2',
      `root = "${directory}/root"`,
      `state = "${directory}/state"`,
      'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
      '[grpc]',
      `  address = "${directory}/c.sock"`,
    ];
    writeFileSync(join(directory, 'config.toml'), config.join('\n'));
    daemon = spawn(CONTAINERD, ['-c', join(directory, 'config.toml')], {
      env: {
        ...process.env,
        PATH: `${BIN}:${process.env.PATH}`,
        TSKATA_RUN_ROOT: join(directory, 'run'),
        TSKATA_LIB_ROOT: join(directory, 'lib'),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    await watchOutput(daemon).until(/successfully booted/, 30_000);
  });

  afterAll(async () => {
    const ended = ending(daemon);
    daemon.kill('SIGTERM');
    await ended;
    const left = existsSync(join(directory, 'run/default')) ? readdirSync(join(directory, 'run/default')) : [];
    rmSync(directory, { recursive: true, force: true });
    expect(left).toEqual([]);
  });

  function ctr(...args: readonly string[]): Promise<{ status: number; stdout: string; stderr: string }> {
    return new Promise((resolve) => {
      execFile('ctr', ['-a', join(directory, 'c.sock'), ...args], { timeout: 60_000 }, (error, stdout, stderr) => {
        resolve({ status: error === null ? 0 : Number(error.code ?? 255), stdout, stderr });
      });
    });
  }

  const run = (flags: readonly string[], id: string, ...command: string[]) =>
    ctr('run', ...flags, '--runtime', 'io.containerd.tskata.v2', '--rootfs', rootfs, id, ...command);

  test('a container runs in a kernel of its own, and its exit code comes back', async () => {
    const { status, stdout } = await run(['--rm'], 'one', '/bin/busybox', 'sh', '-c', 'uname -r; exit 9');
    expect(status).toBe(9);
    expect(stdout).toMatch(/tskata/);
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
    const events = spawn('ctr', ['-a', join(directory, 'c.sock'), 'events']);
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
