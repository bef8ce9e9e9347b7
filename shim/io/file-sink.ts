/**
 * Owns `file://` output: both streams appended to one regular file. Refuses FIFOs and devices.
 */
import { closeSync, constants, fstatSync, mkdirSync, openSync, write } from 'node:fs';
import { dirname } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { OutputSink } from './sink.ts';

/** Opens (creating it, mode 0600, and its directories, as containerd's shim does) and appends. Writes to regular files go through the thread pool and end. */
export function openFileSink(path: string): OutputSink {
  const { O_APPEND, O_CREAT, O_NONBLOCK, O_WRONLY } = constants;
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const fd = openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, 0o600);
  if (!fstatSync(fd).isFile()) {
    closeSync(fd);
    throw new TskataError(Code.InvalidArgument, `open output file - ${path} - not a regular file`);
  }
  let closing = false;
  let tail: Promise<void> = Promise.resolve();
  return {
    write: (bytes) => {
      if (closing) return Promise.resolve();
      tail = tail.then(() => writeAll(fd, bytes));
      return tail;
    },
    close: () => {
      if (closing) return;
      closing = true;
      void tail.then(() => closeSync(fd));
    },
  };
}

/** Resolves also when the disk is full: a container does not end because its log cannot grow. */
export function writeAll(fd: number, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    write(fd, bytes, 0, bytes.length, null, (error, written) => {
      if (error !== null || written === bytes.length) resolve();
      else resolve(writeAll(fd, bytes.subarray(written)));
    });
  });
}
