/** A container that runs on under KVM: programs are added to it, and memory that it gives back goes back to the host. */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, type Tskata } from '../../helpers/tskata.ts';
import { callPatiently, HOOK_MS, hostTskata } from './host.ts';

const MIB = 1024 * 1024;
const FILE_MIB = 48;
/** The guest reports free pages every two seconds, by pieces of 2 MiB. */
const REPORT_MS = 90_000;

describe('a container that runs on under KVM', () => {
  let tskata: Tskata;
  let id: string;

  beforeAll(async () => {
    tskata = await hostTskata();
    const { stdout, stderr } = await callPatiently(tskata, [
      'run',
      '-d',
      '--network',
      'none',
      'busybox',
      'sleep',
      '1000',
    ]);
    id = stdout.trim();
    expect(stderr).toBe('');
  }, HOOK_MS);
  afterAll(async () => {
    await tskata.call(['rm', '-f', id]);
    expect(tskata.leaks()).toEqual([]);
  });

  it('gives memory back that its programs have freed', async () => {
    const before = guestMemory();
    await tskata.ok('exec', id, 'dd', 'if=/dev/zero', 'of=/dev/shm/file', 'bs=1M', `count=${FILE_MIB}`);
    const full = guestMemory();
    // Some of what the file takes was the guest's already.
    expect(full - before).toBeGreaterThan((FILE_MIB * MIB) / 2);
    await tskata.ok('exec', id, 'rm', '/dev/shm/file');
    const freed = (FILE_MIB * MIB) / 2;
    await eventually(() => guestMemory() < full - freed, REPORT_MS, 'the host has half of the memory back');
  });
});

/** Bytes that the memory of the youngest machine of this host takes. */
function guestMemory(): number {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger);
  for (const pid of pids.sort((a, b) => b - a)) {
    if (!read(`/proc/${pid}/comm`).startsWith('qemu-system')) continue;
    const fds = readdirSync(`/proc/${pid}/fd`).map((fd) => `/proc/${pid}/fd/${fd}`);
    const memory = fds.find((fd) => readlinkSync(fd).startsWith('/memfd:memory-backend-memfd'));
    if (memory !== undefined) return statSync(memory).blocks * 512;
  }
  throw new Error('no machine runs');
}

/** Empty when the process has just ended. */
function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
