/**
 * Owns a dialled connection: its socket and its stream, copied both ways until both directions have ended. A half that
 * ends is told to the other side; a datagram is one frame.
 */

import { InputPump } from '../io/input.ts';
import { OutputPump } from '../io/output.ts';
import type { ByteStream } from '../io/process-io.ts';
import { close, duplicate } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { SHUT } from '../sys/linux.ts';
import type { Loop, Sys } from '../sys/sys.ts';
import { SYS } from '../sys/syscalls.ts';

/** Copies until both halves have ended, or one has failed. Owns `fd` and the stream. */
export function joinConnection(
  sys: Sys,
  loop: Loop,
  fd: number,
  stream: ByteStream,
  kind: 'bytes' | 'datagrams',
): void {
  // The loop watches a descriptor once.
  const writing = duplicate(sys, fd);
  const output = new OutputPump(sys, loop, fd, stream, kind);
  const input = new InputPump(sys, loop, writing, stream, false);
  let halves = 2;
  const half = (): void => {
    halves -= 1;
    if (halves === 0) close(sys, writing);
  };
  input.onFinished = (errno) => {
    if (errno === undefined) sys.call(SYS.shutdown, writing, SHUT.WR);
    // A peer that takes no more may still have something to say: its own end ends the other half.
    else if (errno !== E.EPIPE && errno !== E.ECONNRESET) output.close();
    half();
  };
  output.onFinished = half;
  stream.onAbort = () => {
    output.dropStream();
    output.close();
    input.close();
  };
}
