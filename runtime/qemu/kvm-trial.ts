/**
 * The one question whose answer counts: does a guest really run under KVM here? It starts the test guest and watches.
 * /dev/kvm can exist, open and create machines on hosts where no guest ever gets anywhere.
 */
import { spawn } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { sanitizeLine } from './console.ts';
import { buildTestGuest, DEBUG_PORT, EXIT_PORT, FINISHED, PROTECTED } from './test-guest.ts';

/** How long QEMU may take for its own start and the guest's first words, and then the guest for its loop. */
interface Patience {
  readonly startMs: number;
  readonly loopMs: number;
}

/** A CPU needs milliseconds for the loop. */
const BRIEF: Patience = { startMs: 5_000, loopMs: 800 };
/** Where the CPU says that it can do it, a busy or nested host is the likelier reason for a delay. */
const PATIENT: Patience = { startMs: 20_000, loopMs: 5_000 };
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
    const { startMs, loopMs } = options.patient ? PATIENT : BRIEF;
    let timer = setTimeout(() => giveUp(`a test guest did not start within ${startMs} ms`), startMs);
    child.stdout.on('data', (chunk: Buffer) => {
      const had = output.includes(PROTECTED);
      output = (output + chunk.toString('latin1')).slice(0, MAX_OUTPUT_BYTES);
      if (had || !output.includes(PROTECTED)) return;
      clearTimeout(timer);
      timer = setTimeout(() => giveUp(`a test guest started but did not get on within ${loopMs} ms`), loopMs);
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
