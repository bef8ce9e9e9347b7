/**
 * The caller's side of a running process: its output, its input, its terminal, its signals, until it ends. The same for
 * `run` and `exec`.
 */
import { constants } from 'node:os';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { EXIT_RUNTIME } from './exit.ts';
import type { Stdio } from './stdio.ts';
import type { Task } from './task.ts';
import { lendTerminal, terminalSize } from './terminal.ts';
import { deadline } from './wait.ts';

/** Signals that are handed on to the container's process, as docker does. */
const FORWARDED: readonly NodeJS.Signals[] = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGCONT',
  'SIGALRM',
];
const SIGNAL_BASE = 128;
/** Between the hang-up of a terminal and the end of what ran in it. */
const HANGUP_MS = 1_000;
/** So many SIGINT or SIGTERM within this time end the process, whatever it makes of them. */
const IMPATIENT_SIGNALS = 3;
const IMPATIENT_MS = 2_000;
/** How long output that is still in the FIFOs after the exit is waited for. */
const DRAIN_DEADLINE_MS = 10_000;

/** What to attach to. */
export interface Attachment {
  /** Directory of the helper. */
  readonly programs: string;
  readonly task: Task;
  /** Empty for the container's init. */
  readonly execId: string;
  readonly stdio: Stdio;
  readonly terminal: boolean;
  readonly interactive: boolean;
}

/** Runs `start`, then stays until the process has ended and its output is out. Returns the exit status. */
export async function attachAndStart(attachment: Attachment): Promise<number> {
  const { task, execId, stdio, terminal, interactive } = attachment;
  const undo: (() => void | Promise<void>)[] = [];
  try {
    undo.push(forwardSignals(task, execId, terminal));
    const ended = task.wait(execId);
    // A failed start fails the wait as well; the start's words are the ones to show.
    ended.catch(() => undefined);
    await task.start(execId);
    stdio.handOver();
    if (terminal) undo.push(followSize(task, execId));
    if (interactive) {
      // Without input the terminal's keys keep their meaning: Ctrl-C is a signal to us, which is forwarded.
      if (terminal && process.stdin.isTTY) undo.push(await lendTerminal(attachment.programs));
      stdio.copyInput(process.stdin, () => void task.closeStdin(execId).catch(ignoreEnded));
    }
    const status = await Promise.race([ended.then((exit) => exit.status), endUnread(stdio, task, execId)]);
    await Promise.race([stdio.drained(), deadline(DRAIN_DEADLINE_MS)]);
    return status;
  } finally {
    for (const step of undo.toReversed()) await step();
    process.stdin.unref?.();
  }
}

function forwardSignals(task: Task, execId: string, terminal: boolean): () => void {
  const impatience = new Impatience();
  const kill = (): void => void task.kill(constants.signals.SIGKILL, { execId }).catch(ignoreEnded);
  const forward = (name: NodeJS.Signals, signal: number): void => {
    if (impatience.grows(name)) {
      process.stderr.write(`tskata: killed: ${IMPATIENT_SIGNALS} signals within ${IMPATIENT_MS / 1000} s\n`);
      kill();
      return;
    }
    void task.kill(signal, { execId }).catch(ignoreEnded);
    // A terminal that was closed has no user any more, and a shell as process 1 does not heed the signal.
    if (terminal && name === 'SIGHUP') setTimeout(kill, HANGUP_MS).unref();
  };
  for (const name of FORWARDED) process.on(name, forward);
  return () => {
    for (const name of FORWARDED) process.off(name, forward);
  };
}

/**
 * Process 1 of a container ignores what it has no handler for, so that Ctrl-C alone may end nothing: who asks again and
 * again means it. Requests that come slowly are the program's to answer.
 */
class Impatience {
  #times: number[] = [];

  /** Whether this signal is one too many. */
  grows(name: NodeJS.Signals): boolean {
    if (name !== 'SIGINT' && name !== 'SIGTERM') return false;
    const now = performance.now();
    this.#times = [...this.#times.filter((time) => now - time < IMPATIENT_MS), now];
    return this.#times.length >= IMPATIENT_SIGNALS;
  }
}

/** Nobody reads our output any more: what SIGPIPE is to a program, with the status that a shell would show. */
async function endUnread(stdio: Stdio, task: Task, execId: string): Promise<number> {
  const { code } = await stdio.unread;
  await task.kill(constants.signals.SIGKILL, { execId }).catch(ignoreEnded);
  return code === 'EPIPE' ? SIGNAL_BASE + constants.signals.SIGPIPE : EXIT_RUNTIME;
}

function followSize(task: Task, execId: string): () => void {
  const resize = (): void => void task.resize(execId, terminalSize(process.stdout)).catch(ignoreEnded);
  resize();
  process.stdout.on('resize', resize);
  return () => process.stdout.off('resize', resize);
}

/** A signal or a new size for a process that has just ended is nobody's concern. */
function ignoreEnded(caught: unknown): void {
  const { code, message } = TskataError.from(caught);
  if (code === Code.NotFound || code === Code.FailedPrecondition || code === Code.Unavailable || code === Code.Canceled)
    return;
  process.stderr.write(`tskata: ${message}\n`);
}
