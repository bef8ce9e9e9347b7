/** What `tskata run` says and leaves when a part of the machine is killed or breaks while a container runs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ending, eventually, Tskata, watchOutput } from '../helpers/tskata.ts';

interface Record {
  readonly id: string;
  readonly shim: { readonly pid: number };
  readonly keeper: { readonly pid: number };
  readonly qemu: { readonly pid: number };
}

function alive(pid: number): boolean {
  try {
    return !/^State:\t[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

describe('a machine that breaks under its container', () => {
  let tskata: Tskata;

  beforeAll(async () => {
    tskata = await Tskata.withBusybox();
  });
  afterEach(async () => {
    // What a crash left goes with the next command.
    await tskata.ok('list');
    expect(tskata.leaks()).toEqual([]);
  });
  afterAll(() => tskata.dispose());

  /** Runs until "up" was said, does something to it, and tells how it ended. */
  async function broken(how: (record: Record) => void): Promise<{ status: number; text: string; afterMs: number }> {
    const child = tskata.start(['run', '--rm', 'busybox', 'sh', '-c', 'echo up; sleep 1000']);
    const ended = ending(child);
    const output = watchOutput(child);
    await output.until(/up/);
    const [path = ''] = tskata.records();
    how(JSON.parse(readFileSync(join(path, 'state.json'), 'utf8')) as Record);
    const began = performance.now();
    const status = await ended;
    return { status, text: output.text(), afterMs: performance.now() - began };
  }

  it('is told with its reason when QEMU is killed', async () => {
    const { status, text, afterMs } = await broken(({ qemu }) => process.kill(qemu.pid, 'SIGKILL'));
    expect(status).toBe(137);
    expect(text).toMatch(/tskata: the virtual machine ended \(killed\): QEMU was ended by signal 9/);
    expect(text).toMatch(/last lines of the guest console \(untrusted\): .*tskata-agent: ready/);
    expect(afterMs).toBeLessThan(5_000);
  });

  it('is told with its reason when the keeper is killed', async () => {
    let qemuPid = 0;
    const { status, text } = await broken(({ keeper, qemu }) => {
      qemuPid = qemu.pid;
      process.kill(keeper.pid, 'SIGKILL');
    });
    expect(status).toBe(137);
    expect(text).toMatch(/tskata: the virtual machine ended \(helper-died\)/);
    expect(alive(qemuPid)).toBe(false);
  });

  it('ends within a second of its shim', async () => {
    let record: Record | undefined;
    const { status, text } = await broken((found) => {
      record = found;
      process.kill(found.shim.pid, 'SIGKILL');
    });
    const { keeper, qemu } = record as Record;
    await eventually(() => !alive(keeper.pid) && !alive(qemu.pid), 1_000, 'keeper and QEMU have ended');
    expect(status).toBe(137);
    expect(text).toContain('tskata: the shim of the container died, and its machine with it\n');
  });

  it('leaves a record and its log when the shim of a detached container is killed', async () => {
    const id = await tskata.ok('run', '-d', 'busybox', 'sh', '-c', 'echo said; sleep 1000');
    await eventually(async () => (await tskata.ok('logs', id)) === 'said', 20_000, 'it has said something');
    const record = JSON.parse(readFileSync(join(tskata.records()[0] ?? '', 'state.json'), 'utf8')) as Record;
    process.kill(record.shim.pid, 'SIGKILL');
    await eventually(() => !alive(record.qemu.pid), 1_000, 'QEMU has ended');
    const [row] = JSON.parse(await tskata.ok('list', '--json')) as {
      status: string;
      exitStatus: number;
      reason: string;
    }[];
    expect(row).toMatchObject({ status: 'stopped', exitStatus: 137, reason: 'the shim of the container died' });
    expect(tskata.leaks().filter((leak) => !tskata.records().includes(leak))).toEqual([]);
    expect(await tskata.ok('logs', id)).toBe('said');
    const exec = await tskata.call(['exec', id, 'true']);
    expect(exec).toMatchObject({
      status: 125,
      stderr: `tskata: exec in ${id}: the container is stopped, not running\n`,
    });
    await tskata.ok('rm', id);
  });

  it('shows the panic of the guest kernel', async () => {
    const eat = 'echo 2 > /proc/sys/vm/panic_on_oom; echo 1000 > /proc/self/oom_score_adj; tail /dev/zero';
    const result = await tskata.call(['run', '--rm', '--privileged', 'busybox', 'sh', '-c', eat]);
    expect(result.status).toBe(137);
    expect(result.stderr).toMatch(/the virtual machine ended \(panicked\): the guest kernel panicked: Out of memory/);
    expect(result.stderr).toContain('last lines of the guest console (untrusted)');
  });

  it('goes on when its memory is full: the container pays', async () => {
    const began = performance.now();
    const result = await tskata.call(['run', '--rm', 'busybox', 'sh', '-c', 'tail /dev/zero; echo "ended with $?"']);
    expect(result).toMatchObject({ status: 0, stdout: 'ended with 137\n' });
    expect(performance.now() - began).toBeLessThan(60_000);
  });

  it('tells a full disk in the guest to the program', async () => {
    const write = 'dd if=/dev/zero of=/big bs=1M count=64 2>&1; echo still here';
    const result = await tskata.call(['run', '--rm', '--storage', '16m', 'busybox', 'sh', '-c', write]);
    expect(result.stdout).toContain('No space left on device');
    expect(result.stdout).toContain('still here');
  });
});
