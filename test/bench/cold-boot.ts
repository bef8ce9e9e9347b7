/**
 * Cold boot: CPU time of QEMU from exec to the agent's first answer, against a plain QEMU (q35, SeaBIOS, Debian's cloud
 * kernel, a busybox initrd) from exec to the first line of its init. Interleaved.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeCpio } from '../../guest-kernel/cpio.ts';
import { connect, openFactoryHarness } from '../helpers/qemu-factory.ts';
import { findHostKernel } from '../kvm/kernel.ts';
import { cpuSeconds } from './processes.ts';

const MARK = 'init-is-running';
const BOOT_TIMEOUT_MS = 120_000;

export interface ColdBoot {
  readonly subjectCpu: readonly number[];
  readonly subjectWall: readonly number[];
  readonly plainCpu: readonly number[];
}

/** Boots each side `count` times. */
export async function measureColdBoot(count: number): Promise<ColdBoot> {
  const harness = await openFactoryHarness();
  const directory = mkdtempSync(join(tmpdir(), 'tskata-bench-'));
  try {
    const initrd = join(directory, 'initrd');
    writeFileSync(initrd, busyboxInitrd());
    const kernel = (await findHostKernel()).image;
    const subjectCpu: number[] = [];
    const subjectWall: number[] = [];
    const plainCpu: number[] = [];
    const subject = async (): Promise<void> => {
      const started = performance.now();
      const { factory } = await harness.factory();
      const vm = await factory.start(harness.config({ memoryMib: 512 }));
      try {
        const connection = await connect(vm, true);
        await connection.call.guestInfo({});
        subjectWall.push((performance.now() - started) / 1000);
        subjectCpu.push(cpuSeconds(vm.qemuPid));
        connection.close();
      } finally {
        await vm.stop();
      }
    };
    const plain = async (): Promise<void> => void plainCpu.push(await bootPlain(kernel, initrd));
    for (let round = 0; round < count; round++) {
      // ABBA: whatever drifts, drifts for both.
      for (const side of round % 2 === 0 ? [subject, plain] : [plain, subject]) await side();
    }
    return { subjectCpu, subjectWall, plainCpu };
  } finally {
    rmSync(directory, { recursive: true, force: true });
    await harness.close();
  }
}

function busyboxInitrd(): Buffer {
  const init = `#!/bin/busybox sh\n/bin/busybox echo ${MARK}\n/bin/busybox sleep 1000\n`;
  return writeCpio([
    { kind: 'directory', path: 'bin', mode: 0o755 },
    { kind: 'directory', path: 'dev', mode: 0o755 },
    { kind: 'char-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { kind: 'file', path: 'bin/busybox', mode: 0o755, data: readFileSync('/bin/busybox') },
    { kind: 'file', path: 'init', mode: 0o755, data: Buffer.from(init) },
  ]);
}

/** CPU seconds until init's line is on the serial console. */
function bootPlain(kernel: string, initrd: string): Promise<number> {
  const khz = Math.round(
    Number(/^cpu MHz\s*: ([0-9.]+)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '2600') * 1000,
  );
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...['-M', 'q35', '-accel', 'tcg', '-cpu', 'max', '-m', '512', '-display', 'none', '-no-reboot', '-nic', 'none'],
      // Without the frequency every second boot under TCG hangs in its calibration.
      ...[
        '-kernel',
        kernel,
        '-initrd',
        initrd,
        '-append',
        `console=ttyS0 quiet tsc_early_khz=${khz}`,
        '-serial',
        'stdio',
        '-monitor',
        'none',
      ],
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), BOOT_TIMEOUT_MS);
    child.stdout.on('data', (bytes: Buffer) => {
      text += bytes.toString();
      if (!text.includes(MARK)) return;
      resolve(cpuSeconds(child.pid ?? 0));
      child.kill('SIGKILL');
    });
    child.once('close', () => {
      clearTimeout(timer);
      reject(new Error(`the plain machine ended before its init: ${text.slice(-500)}`));
    });
  });
}
