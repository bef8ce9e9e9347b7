/**
 * `tskata run --rm busybox true`, cold, against `podman run --rm` with runc and the same program: wall time, and CPU time
 * of the whole machine (both leave work to processes that are not their children). Network none on both sides.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tskata } from '../helpers/tskata.ts';
import { machineCpuSeconds } from './processes.ts';

interface Timed {
  readonly wall: number[];
  readonly cpu: number[];
}

export interface RunTrue {
  readonly tskata: Timed;
  /** With the default user-mode network. */
  readonly tskataUser: Timed;
  readonly podman: Timed;
}

const IMAGE = 'localhost/tskata-bench-busybox';
/** podman's defaults are above what root may have on some hosts. */
const ULIMITS = ['--ulimit', 'nofile=1024:1024', '--ulimit', 'nproc=1024:1024'];
/** Storage of our own: the caller's containers are not touched. */
const podmanFlags = (directory: string): string[] => [
  ...['--root', join(directory, 'storage'), '--runroot', join(directory, 'run'), '--storage-driver', 'overlay'],
  ...['--cgroup-manager', 'cgroupfs', '--runtime', 'runc', '--events-backend', 'none'],
];

export async function measureRunTrue(count: number): Promise<RunTrue> {
  const directory = mkdtempSync(join(tmpdir(), 'tskata-bench-'));
  const tskata = await Tskata.withBusybox();
  const podman = (...args: string[]): void =>
    void execFileSync('podman', [...podmanFlags(directory), ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    podman('import', busyboxTar(directory), IMAGE);
    const result: RunTrue = { tskata: blank(), tskataUser: blank(), podman: blank() };
    const sides: [Timed, () => unknown][] = [
      [result.tskata, () => tskata.ok('run', '--rm', '--network', 'none', 'busybox', 'true')],
      [result.tskataUser, () => tskata.ok('run', '--rm', 'busybox', 'true')],
      [result.podman, () => podman('run', '--rm', '--network', 'none', ...ULIMITS, IMAGE, '/bin/true')],
    ];
    for (const [, run] of sides) await run();
    for (let round = 0; round < count; round++) {
      for (const [timed, run] of round % 2 === 0 ? sides : sides.toReversed()) {
        const cpu = machineCpuSeconds();
        const started = performance.now();
        await run();
        timed.wall.push((performance.now() - started) / 1000);
        timed.cpu.push(machineCpuSeconds() - cpu);
      }
    }
    return result;
  } finally {
    tskata.dispose();
    // podman keeps its overlay directory mounted on itself.
    spawnSync('umount', ['-l', join(directory, 'storage/overlay')], { stdio: 'ignore' });
    rmSync(directory, { recursive: true, force: true });
  }
}

function blank(): Timed {
  return { wall: [], cpu: [] };
}

function busyboxTar(directory: string): string {
  const tree = join(directory, 'tree');
  mkdirSync(join(tree, 'bin'), { recursive: true });
  cpSync('/bin/busybox', join(tree, 'bin/busybox'));
  cpSync('/bin/busybox', join(tree, 'bin/true'));
  const file = join(directory, 'busybox.tar');
  execFileSync('tar', ['-C', tree, '-cf', file, '.']);
  return file;
}
