/**
 * Mode `copy-sparse FROM TO`: copies a file with its holes, in a process of its own because it can take long. The target
 * must not exist; a failed copy leaves none.
 */
import { close, open, stat, unlink } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { check } from '../../agent/sys/errors.ts';
import { AT, O, SEEK } from '../../agent/sys/linux.ts';
import { viewOf, words64 } from '../../agent/sys/structs.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';

/** One copy_file_range; the kernel takes at most 2 GiB. */
const PIECE_BYTES = 1 << 30;

/** Copies `from` to the new file `to`, mode 0600. */
export function copySparse(sys: Sys, from: string, to: string): void {
  // The memory of a running program is reached by /proc/PID/fd/N, a link of the kernel's own making.
  const follow = from.startsWith('/proc/') ? 0 : O.NOFOLLOW;
  const source = open(sys, from, O.RDONLY | follow);
  try {
    const target = open(sys, to, O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW, 0o600);
    try {
      const size = stat(sys, '', AT.EMPTY_PATH, source).size;
      check(sys.call(SYS.ftruncate, target, size), 'set size of', to);
      copyData(sys, source, target, size, to);
    } catch (error) {
      unlink(sys, to);
      throw error;
    } finally {
      close(sys, target);
    }
  } finally {
    close(sys, source);
  }
}

function copyData(sys: Sys, source: number, target: number, size: number, subject: string): void {
  let position = 0;
  while (position < size) {
    const start = sys.call(SYS.lseek, source, position, SEEK.DATA);
    if (start === -E.ENXIO) return;
    check(start, 'find data for', subject);
    const end = check(sys.call(SYS.lseek, source, start, SEEK.HOLE), 'find a hole for', subject);
    copyRange(sys, source, target, start, end, subject);
    position = end;
  }
}

function copyRange(sys: Sys, source: number, target: number, start: number, end: number, subject: string): void {
  const from = words64(start);
  const to = words64(start);
  for (let left = end - start; left > 0; ) {
    const count = sys.call(SYS.copy_file_range, source, from, target, to, Math.min(left, PIECE_BYTES), 0);
    if (count === -E.EINTR) continue;
    if (count === -E.EXDEV) {
      sendRange(sys, source, target, start, end, subject);
      return;
    }
    // Nothing more to copy: the file got shorter meanwhile.
    if (check(count, 'copy to', subject) === 0) return;
    left = end - Number(viewOf(from).getBigUint64(0, true));
  }
}

/** From one file system to another, a memfd to a file for example: not at once, but still without a buffer here. */
function sendRange(sys: Sys, source: number, target: number, start: number, end: number, subject: string): void {
  const from = words64(start);
  check(sys.call(SYS.lseek, target, start, SEEK.SET), 'seek in', subject);
  for (let left = end - start; left > 0; left = end - Number(viewOf(from).getBigUint64(0, true))) {
    const count = sys.call(SYS.sendfile, target, source, from, Math.min(left, PIECE_BYTES));
    if (count === -E.EINTR) continue;
    if (check(count, 'copy to', subject) === 0) return;
  }
}
