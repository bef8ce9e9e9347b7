/**
 * Mode `lend-terminal`: makes the terminal on standard input raw for the command that holds the other end of descriptor 3,
 * says so there, and sets it back when that end is closed, which a command does that is killed as well.
 */
import { ioctl, writeAll } from '../../agent/sys/calls.ts';
import { check } from '../../agent/sys/errors.ts';
import { IOCTL, SIG_HOW } from '../../agent/sys/linux.ts';
import { sigset, utf8, viewOf } from '../../agent/sys/structs.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';

const TERMINAL = 0;
const COMMAND = 3;
/** Numbers of signals, real-time ones included. */
const SIGNALS = 64;

/** struct termios of the kernel: c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc[19]. */
const TERMIOS_BYTES = 36;
const OFFSET = { iflag: 0, oflag: 4, cflag: 8, lflag: 12, vtime: 17 + 5, vmin: 17 + 6 } as const;
/** What cfmakeraw(3) clears. Output too: Node's own raw mode turns LF into CR LF. */
const RAW_CLEARS = {
  /** IGNBRK, BRKINT, PARMRK, ISTRIP, INLCR, IGNCR, ICRNL, IXON. */
  iflag: 0o1 | 0o2 | 0o10 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000,
  /** OPOST. */
  oflag: 0o1,
  /** CSIZE, PARENB. */
  cflag: 0o60 | 0o400,
  /** ISIG, ICANON, ECHO, ECHONL, IEXTEN. */
  lflag: 0o1 | 0o2 | 0o10 | 0o100 | 0o100000,
} as const;
const CS8 = 0o60;

/** The settings of a terminal as bytes go through it unchanged. */
function rawSettings(settings: Uint8Array): Uint8Array {
  const raw = settings.slice();
  const view = viewOf(raw);
  for (const flags of ['iflag', 'oflag', 'cflag', 'lflag'] as const) {
    view.setUint32(OFFSET[flags], view.getUint32(OFFSET[flags], true) & ~RAW_CLEARS[flags], true);
  }
  view.setUint32(OFFSET.cflag, view.getUint32(OFFSET.cflag, true) | CS8, true);
  raw[OFFSET.vmin] = 1;
  raw[OFFSET.vtime] = 0;
  return raw;
}

/** Returns when the command has ended or given the terminal back, and the terminal is as it was. No signal but SIGKILL ends it before. */
export function lendTerminal(sys: Sys): void {
  const all = sigset(Array.from({ length: SIGNALS }, (_, index) => index + 1));
  check(sys.call(SYS.rt_sigprocmask, SIG_HOW.BLOCK, all, null, all.length), 'block signals');
  const settings = new Uint8Array(TERMIOS_BYTES);
  ioctl(sys, TERMINAL, IOCTL.TCGETS, settings);
  ioctl(sys, TERMINAL, IOCTL.TCSETS, rawSettings(settings));
  try {
    writeAll(sys, COMMAND, utf8('raw'));
    sys.read(COMMAND, new Uint8Array(1), 0, 1);
  } finally {
    ioctl(sys, TERMINAL, IOCTL.TCSETS, settings);
  }
}
