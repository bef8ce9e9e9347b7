/**
 * What containerd says to `start` on standard input: up to 2.2 the runtime's options as an Any, or nothing; from 2.3 on
 * BootstrapParams with the options among its extensions. The two agree in the wire form of their first fields, so that
 * either decodes as the other: the version that only the newer one carries tells them apart.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { stat } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { check } from '../../agent/sys/errors.ts';
import { AT, EPOLL, S } from '../../agent/sys/linux.ts';
import { concat, viewOf } from '../../agent/sys/structs.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import { BootstrapParams } from './generated/bootstrap.ts';
import { Any } from './generated/google.ts';
import { configPathOf } from './runtime-options.ts';

/** Options are a path; the extensions of a later containerd may be more. */
const MAX_INPUT_BYTES = 4 << 20;
/** containerd writes before it waits for us. */
const INPUT_TIMEOUT_MS = 10_000;
const STDIN = 0;
const OPERATION = 'start shim';

/** What was said; empty for what was not. */
export interface Bootstrap {
  /** ConfigPath of the runtime's options in containerd's configuration, or `ctr run --runtime-config-path`. */
  readonly configPath: string;
  /** containerd's ttrpc socket. */
  readonly ttrpcAddress: string;
}

/** Reads what a pipe or file on standard input says. Anything else (a terminal, /dev/null) is not containerd's. */
export function readBootstrap(sys: Sys): Bootstrap {
  const kind = stat(sys, '', AT.EMPTY_PATH, STDIN).mode & S.IFMT;
  return decodeBootstrap(kind === S.IFIFO || kind === S.IFREG ? readInput(sys) : new Uint8Array(0));
}

/** Throws InvalidArgument for bytes that are neither message, and for options that would be ignored. */
function decodeBootstrap(bytes: Uint8Array): Bootstrap {
  const params = BootstrapParams.decode(bytes);
  if (params.containerdVersion === '')
    return { configPath: configPathOf(OPERATION, [Any.decode(bytes)]), ttrpcAddress: '' };
  const extensions = params.extensions.flatMap(({ value }) => value ?? []);
  return { configPath: configPathOf(OPERATION, extensions), ttrpcAddress: params.containerdTtrpcAddress };
}

function readInput(sys: Sys): Uint8Array {
  const poll = new Uint8Array(8);
  viewOf(poll).setInt32(0, STDIN, true);
  viewOf(poll).setInt16(4, EPOLL.IN, true);
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    if (check(sys.call(SYS.poll, poll, 1, INPUT_TIMEOUT_MS), 'wait for', 'standard input') === 0)
      throw new TskataError(Code.DeadlineExceeded, `start shim: standard input: no end in ${INPUT_TIMEOUT_MS} ms`);
    const chunk = new Uint8Array(64 << 10);
    const count = sys.read(STDIN, chunk, 0, chunk.length);
    if (count === -E.EINTR) continue;
    if (check(count, 'read', 'standard input') === 0) return concat(chunks);
    chunks.push(chunk.subarray(0, count));
    length += count;
    if (length > MAX_INPUT_BYTES)
      throw new TskataError(Code.InvalidArgument, `start shim: standard input: more than ${MAX_INPUT_BYTES} bytes`);
  }
}
