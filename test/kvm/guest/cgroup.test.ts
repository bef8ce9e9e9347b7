/** The host's cgroup of a sandbox where there is v2 alone: leaves for its programs, limits above them, nothing left. */
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Tskata } from '../../helpers/tskata.ts';
import { callPatiently, HOOK_MS, hostTskata } from './host.ts';

const MIB = 1024 * 1024;
const TOP = '/sys/fs/cgroup/tskata';

let tskata: Tskata;
let id: string;

beforeAll(async () => {
  tskata = await hostTskata();
  const args = ['run', '-d', '-m', '200m', '--cpus', '1', 'busybox', 'sleep', '100000'];
  const { status, stdout, stderr } = await callPatiently(tskata, args);
  if (status !== 0) throw new Error(stderr);
  id = stdout.trim();
}, HOOK_MS);
afterAll(async () => {
  await tskata.call(['rm', '-f', id]);
  expect(tskata.leaks()).toEqual([]);
}, HOOK_MS);

/** A file of the sandbox's group. */
function read(name: string): string {
  return readFileSync(`${TOP}/${id}/${name}`, 'utf8').trim();
}

describe('the group of a sandbox in a unified hierarchy', () => {
  it('has the limits of the machine and its programs', () => {
    expect(read('memory.max')).toBe(String((512 + 640) * MIB));
    expect(read('cpu.max')).toBe('200000 100000');
    expect(read('pids.max')).toBe('4096');
  });

  it('holds processes in leaves only, QEMU, shim and keeper in one, the user network in another', () => {
    expect(read('cgroup.procs')).toBe('');
    const { shim, keeper, qemu } = tskata.record(id);
    const main = read('main/cgroup.procs').split('\n').map(Number);
    expect(main).toEqual(expect.arrayContaining([shim.pid, keeper?.pid, qemu?.pid]));
    expect(read('egress/cgroup.procs')).not.toBe('');
    expect(readFileSync(`/proc/${qemu?.pid}/cgroup`, 'utf8').trim()).toBe(`0::/tskata/${id}/main`);
  });

  it(
    'is charged with what the guest makes the host use',
    async () => {
      const before = Number(read('memory.current'));
      await tskata.ok('exec', id, 'dd', 'if=/dev/zero', 'of=/dev/shm/filled', 'bs=1M', 'count=48');
      expect(Number(read('memory.current')) - before).toBeGreaterThan(32 * MIB);
      expect(Number(/usage_usec (\d+)/.exec(read('cpu.stat'))?.[1])).toBeGreaterThan(0);
    },
    HOOK_MS,
  );

  it(
    'goes with the sandbox, and the parent with the last one',
    async () => {
      expect((await tskata.call(['rm', '-f', id])).status).toBe(0);
      expect(existsSync(`${TOP}/${id}`)).toBe(false);
      expect(existsSync(TOP)).toBe(false);
    },
    HOOK_MS,
  );
});
