/** Mode `raw-output TTY`: what is written to a terminal reaches it unchanged. Node's raw mode still turns LF into CR LF. */
import { close, ioctl, open } from '../../agent/sys/calls.ts';
import { IOCTL, O } from '../../agent/sys/linux.ts';
import type { Sys } from '../../agent/sys/sys.ts';

/** Waits until what was written before is out. */
const TCSETSW = 0x5403;
/** struct termios of the kernel: c_iflag, c_oflag, c_cflag, c_lflag, c_line, c_cc[19]. */
const TERMIOS_BYTES = 36;
const OFLAG_OFFSET = 4;
const OPOST = 1;

/** Switches output processing off. Whoever made the terminal raw restores it with everything else. */
export function makeOutputRaw(sys: Sys, path: string): void {
  const fd = open(sys, path, O.RDWR | O.NOCTTY);
  try {
    const termios = new Uint8Array(TERMIOS_BYTES);
    ioctl(sys, fd, IOCTL.TCGETS, termios);
    const view = new DataView(termios.buffer);
    view.setUint32(OFLAG_OFFSET, view.getUint32(OFLAG_OFFSET, true) & ~OPOST, true);
    ioctl(sys, fd, TCSETSW, termios);
  } finally {
    close(sys, fd);
  }
}
