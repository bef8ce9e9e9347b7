/**
 * Owns the agent's words on the guest's console. They are for people who look at a dead guest, so they are bounded:
 * nothing that the host or a container does can fill the console's buffer on the host.
 */
import { E } from '../sys/errno.ts';
import { AT, O } from '../sys/linux.ts';
import { utf8 } from '../sys/structs.ts';
import type { Loop, Sys } from '../sys/sys.ts';
import { SYS } from '../sys/syscalls.ts';

const MAX_LINE = 512;
/** Lines per interval; the rest is counted. */
const BURST_LINES = 50;
const INTERVAL_MS = 10_000;

/** Writes a line. */
export type Log = (phrase: string, fields?: Readonly<Record<string, string | number>>) => void;

/** Lines to /dev/console, or nowhere when the machine has none. */
export function consoleLog(sys: Sys, loop: Loop): Log {
  const opened = sys.call(SYS.openat, AT.FDCWD, '/dev/console', O.WRONLY | O.NOCTTY | O.NONBLOCK | O.CLOEXEC, 0);
  let intervalStart = loop.now();
  let lines = 0;
  let dropped = 0;
  return (phrase, fields = {}) => {
    if (opened < 0) return;
    const now = loop.now();
    if (now - intervalStart > INTERVAL_MS) {
      intervalStart = now;
      lines = 0;
    }
    lines += 1;
    if (lines > BURST_LINES) {
      dropped += 1;
      return;
    }
    const lost = dropped > 0 ? ` dropped_lines=${dropped}` : '';
    dropped = 0;
    const details = Object.entries(fields).map(([name, value]) => ` ${name}=${clean(String(value))}`);
    const line = utf8(`tskata-agent: ${phrase}${details.join('')}${lost}`.slice(0, MAX_LINE).concat('\n'));
    // A console that does not take it loses it.
    if (sys.write(opened, line, 0, line.length) === -E.EAGAIN) dropped += 1;
  };
}

/** One line without control characters. */
function clean(text: string): string {
  return JSON.stringify(text.replace(/\p{Cc}/gu, '?'));
}
