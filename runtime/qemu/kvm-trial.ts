/**
 * The one question whose answer counts: does a guest really run under KVM here? It starts the test guest and watches.
 * /dev/kvm can exist, open and create machines on hosts where no guest ever gets anywhere.
 */
import { spawn } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { sanitizeLine } from './console.ts';
import { buildTestGuest, DEBUG_PORT, EXIT_PORT, FINISHED, PROTECTED } from './test-guest.ts';

/** QEMU's own start and the guest's first words. */
const START_TIMEOUT_MS = 5_000;
/** For the loop, from the guest's last word before it: milliseconds on a CPU. */
const LOOP_TIMEOUT_MS = 800;
/** The same where the CPU says that it can do it, and a busy host is the likelier reason for a delay. */
const PATIENT_LOOP_TIMEOUT_MS = 5_000;
const MAX_OUTPUT_BYTES = 4096;

/** What came of it. */
export type TrialResult =
  | { readonly ran: true; readonly elapsedMs: number }
  | { readonly ran: false; readonly reason: string };

/** How to try. */
export interface TrialOptions {
  readonly qemu: string;
  readonly accelerator: 'kvm' | 'tcg';
  readonly cpu: string;
  /** Directory for the guest's image, which is removed again. */
  readonly directory: string;
  /** The CPU announces virtualization. */
  readonly patient: boolean;
}

/** Runs the test guest. Never rejects for what QEMU or the host does. */
export async function tryAccelerator(options: TrialOptions): Promise<TrialResult> {
  const rom = path.join(options.directory, `test-guest-${process.pid}.rom`);
  await writeFile(rom, buildTestGuest(), { mode: 0o600 });
  try {
    return await runGuest(options, rom);
  } finally {
    await rm(rom, { force: true });
  }
}

function runGuest(options: TrialOptions, rom: string): Promise<TrialResult> {
  const begun = performance.now();
  const child = spawn(options.qemu, trialArgs(options, rom), { stdio: ['ignore', 'pipe', 'pipe'] });
  return new Promise((resolve) => {
    let output = '';
    let words = '';
    let verdict: TrialResult | undefined;
    const giveUp = (reason: string) => {
      verdict ??= { ran: false, reason };
      child.kill('SIGKILL');
    };
    let timer = setTimeout(() => giveUp(`a test guest did not start within ${START_TIMEOUT_MS} ms`), START_TIMEOUT_MS);
    child.stdout.on('data', (chunk: Buffer) => {
      const had = output.includes(PROTECTED);
      output = (output + chunk.toString('latin1')).slice(0, MAX_OUTPUT_BYTES);
      if (had || !output.includes(PROTECTED)) return;
      clearTimeout(timer);
      const limit = options.patient ? PATIENT_LOOP_TIMEOUT_MS : LOOP_TIMEOUT_MS;
      timer = setTimeout(() => giveUp(`a test guest started but did not get on within ${limit} ms`), limit);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      words = (words + chunk.toString('utf8')).slice(-MAX_OUTPUT_BYTES);
    });
    child.on('error', (error) => {
      clearTimeout(timer);
      resolve({ ran: false, reason: `QEMU could not be started: ${error.message}` });
    });
    child.on('close', () => {
      clearTimeout(timer);
      if (output.includes(FINISHED)) resolve({ ran: true, elapsedMs: Math.round(performance.now() - begun) });
      else resolve(verdict ?? { ran: false, reason: `QEMU ended: ${lastLine(words)}` });
    });
  });
}

function trialArgs(options: TrialOptions, rom: string): string[] {
  return [
    '-nodefaults',
    '-no-user-config',
    '-display',
    'none',
    '-machine',
    'microvm,isa-serial=off,rtc=off,x-option-roms=off',
    '-accel',
    options.accelerator,
    '-cpu',
    options.cpu,
    '-m',
    '16',
    '-bios',
    rom,
    '-chardev',
    'stdio,id=debug,signal=off',
    '-device',
    `isa-debugcon,chardev=debug,iobase=${DEBUG_PORT}`,
    '-device',
    `isa-debug-exit,iobase=${EXIT_PORT},iosize=1`,
    '-no-reboot',
    '-sandbox',
    'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
  ];
}

function lastLine(text: string): string {
  const line = text.trim().split('\n').at(-1) ?? '';
  return line === '' ? 'without a word' : sanitizeLine(line);
}
