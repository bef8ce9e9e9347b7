/**
 * Owns the descriptors between a process and its streams: three pipes, or a terminal. It says what the child gets, and
 * how much output preceded the process's end.
 */

import type { TskataError } from '../protocol/errors.ts';
import { STREAM_WINDOW_BYTES } from '../protocol/limits.ts';
import { close, duplicate, open, pipe2, setNonBlocking } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { check } from '../sys/errors.ts';
import { F, IOCTL, O } from '../sys/linux.ts';
import { winsize } from '../sys/structs.ts';
import type { Loop, Sys } from '../sys/sys.ts';
import { SYS } from '../sys/syscalls.ts';
import { InputPump, type InputStream } from './input.ts';
import { OutputPump, type OutputStream } from './output.ts';

/** A stream of the bytes port. */
export interface ByteStream extends InputStream, OutputStream {
  onAbort: (error: TskataError) => void;
}

/** Takes the stream that a call has named. */
export type AcceptStream = (id: number) => ByteStream;

/** Ids of a process's streams; 0: none. */
export interface StreamIds {
  readonly stdin: number;
  readonly stdout: number;
  readonly stderr: number;
}

/** Bytes of output up to the end of the process. */
export interface OutputCounts {
  readonly stdout: number;
  readonly stderr: number;
}

/** Reading and writing end of a pipe. */
type Pipe = readonly [number, number];

/** The agent's side of a process's standard streams. */
export class ProcessIo {
  /** Descriptors for the child's 0, 1, 2; undefined with a terminal. */
  readonly childFds: readonly [number, number, number] | undefined;
  private readonly sys: Sys;
  private readonly loop: Loop;
  private readonly toClose: number[] = [];
  private readonly streams: ByteStream[] = [];
  private readonly stdinStream: ByteStream | undefined;
  private readonly stdoutStream: ByteStream | undefined;
  private readonly stderrStream: ByteStream | undefined;
  private stdin: InputPump | undefined;
  private stdout: OutputPump | undefined;
  private stderr: OutputPump | undefined;
  private terminal: number | undefined;
  private closed = false;

  /** Accepts the streams and opens the pipes. `owner` is who may reopen them by /proc/self/fd, in guest ids. */
  constructor(
    sys: Sys,
    loop: Loop,
    accept: AcceptStream,
    ids: StreamIds,
    terminal: boolean,
    owner: { readonly uid: number; readonly gid: number },
  ) {
    this.sys = sys;
    this.loop = loop;
    try {
      this.stdinStream = this.accept(accept, ids.stdin);
      this.stdoutStream = this.accept(accept, ids.stdout);
      this.stderrStream = this.accept(accept, terminal ? 0 : ids.stderr);
      // Nothing is ever sent on the stream of an input.
      this.stdinStream?.end();
      if (!terminal) this.childFds = this.openPipes(owner);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  private accept(accept: AcceptStream, id: number): ByteStream | undefined {
    if (id === 0) return undefined;
    const stream = accept(id);
    this.streams.push(stream);
    return stream;
  }

  private openPipes(owner: { readonly uid: number; readonly gid: number }): readonly [number, number, number] {
    const stdin = this.openPipe(this.stdinStream, 1, owner);
    const stdout = this.openPipe(this.stdoutStream, 0, owner);
    const stderr = this.openPipe(this.stderrStream, 0, owner);
    if (stdin.ours !== undefined && this.stdinStream !== undefined) this.startInput(stdin.ours, this.stdinStream);
    if (stdout.ours !== undefined) this.stdout = this.startOutput(stdout.ours, this.stdoutStream);
    if (stderr.ours !== undefined) this.stderr = this.startOutput(stderr.ours, this.stderrStream);
    return [stdin.theirs, stdout.theirs, stderr.theirs];
  }

  /** A pipe of which we keep one end, or /dev/null. */
  private openPipe(
    stream: ByteStream | undefined,
    ourEnd: 0 | 1,
    owner: { readonly uid: number; readonly gid: number },
  ): { readonly theirs: number; readonly ours?: number } {
    if (stream === undefined) {
      const theirs = open(this.sys, '/dev/null', ourEnd === 1 ? O.RDONLY : O.WRONLY);
      this.toClose.push(theirs);
      return { theirs };
    }
    const pipe: Pipe = pipe2(this.sys);
    const ours = pipe[ourEnd];
    const theirs = pipe[ourEnd === 0 ? 1 : 0];
    this.toClose.push(theirs);
    setNonBlocking(this.sys, ours);
    // A whole window of the stream fits, so that nothing waits in between. Refused, the pipe keeps its 64 KiB.
    this.sys.call(SYS.fcntl, ours, F.SETPIPE_SZ, STREAM_WINDOW_BYTES);
    check(this.sys.call(SYS.fchown, theirs, owner.uid, owner.gid), 'own pipe');
    return { theirs, ours };
  }

  /** Takes the master of the terminal that the child has opened. */
  attachTerminal(master: number): void {
    this.terminal = master;
    setNonBlocking(this.sys, master);
    // The loop watches a descriptor once: the writing side gets a duplicate.
    if (this.stdinStream !== undefined) this.startInput(duplicate(this.sys, master), this.stdinStream);
    this.stdout = this.startOutput(master, this.stdoutStream);
    this.stdout.onFinished = () => {
      this.terminal = undefined;
      this.stdin?.close();
    };
  }

  private startInput(fd: number, stream: ByteStream): void {
    const pump = new InputPump(this.sys, this.loop, fd, stream, true);
    // Nobody reads any more: the host learns it by the stream's end.
    pump.onFinished = (errno) => {
      if (errno !== undefined) stream.abort();
    };
    // A connection that was cut is no end of input: a process must not take a half message for a whole one.
    stream.onAbort = () => {};
    this.stdin = pump;
  }

  private startOutput(fd: number, stream: ByteStream | undefined): OutputPump {
    const pump = new OutputPump(this.sys, this.loop, fd, stream);
    if (stream !== undefined) {
      stream.onAbort = () => pump.dropStream();
      stream.onData = (bytes) => stream.consumed(bytes.length);
    }
    return pump;
  }

  /** Closes what the child has now: otherwise the end of its output is never seen. */
  spawned(): void {
    for (const fd of this.toClose.splice(0)) close(this.sys, fd);
  }

  /** Must run in the turn in which the end is seen. */
  count(): OutputCounts {
    const stdout = this.terminal === undefined ? this.stdout?.countPipe() : this.stdout?.countTerminal();
    return { stdout: stdout ?? 0, stderr: this.stderr?.countPipe() ?? 0 };
  }

  /** Throws SysError; ENOTTY without a terminal. */
  resize(rows: number, columns: number): void {
    const result =
      this.terminal === undefined
        ? -E.ENOTTY
        : this.sys.call(SYS.ioctl, this.terminal, IOCTL.TIOCSWINSZ, winsize(rows, columns));
    check(result, 'resize the terminal');
  }

  /** Gives up whatever is still open; streams whose end was not reached are aborted. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.spawned();
    this.stdin?.close();
    this.stdout?.close();
    this.stderr?.close();
    this.terminal = undefined;
    for (const stream of this.streams) stream.abort();
  }
}
