/**
 * The FIFOs between this command and a shim, and the copying between them and the caller's own input and output: what
 * containerd's clients do. The shim holds both ends of each, so that neither side can block the other.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { makeFifos } from './native.ts';

const { O_NONBLOCK, O_RDONLY, O_RDWR } = constants;

/** Which of the three a process has. */
export interface StdioWish {
  readonly stdin: boolean;
  /** One stream in both directions: no stderr of its own. */
  readonly terminal: boolean;
}

/** Paths as Create and Exec take them; empty for none. */
export interface StdioPaths {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}

/** A set of FIFOs in a directory of its own. */
export class Stdio {
  readonly paths: StdioPaths;
  readonly #directory: string;
  readonly #copies: Promise<void>[] = [];
  /** Write ends of ours, held until the shim has its own: without a writer a FIFO reads as ended. */
  #holders: number[] = [];
  #input: Socket | undefined;
  readonly #unread = Promise.withResolvers<NodeJS.ErrnoException>();

  private constructor(directory: string, paths: StdioPaths) {
    this.#directory = directory;
    this.paths = paths;
  }

  /** Settles when the copied output goes nowhere any more: its reader has gone away, its disk is full. */
  get unread(): Promise<NodeJS.ErrnoException> {
    return this.#unread.promise;
  }

  /** Makes the FIFOs below `directory`, which must not exist yet. */
  static async create(programs: string, directory: string, wish: StdioWish): Promise<Stdio> {
    await mkdir(directory, { mode: 0o700 });
    const paths: StdioPaths = {
      stdin: wish.stdin ? join(directory, 'stdin') : '',
      stdout: join(directory, 'stdout'),
      stderr: wish.terminal ? '' : join(directory, 'stderr'),
    };
    await makeFifos(
      programs,
      [paths.stdin, paths.stdout, paths.stderr].filter((path) => path !== ''),
    );
    return new Stdio(directory, paths);
  }

  /** Opens our ends and begins to copy output. Before the process exists, so that nothing waits for us. */
  copyOutput(stdout: Writable, stderr: Writable): void {
    this.#copyFifo(this.paths.stdout, stdout);
    if (this.paths.stderr !== '') this.#copyFifo(this.paths.stderr, stderr);
  }

  /** The shim has opened its ends (Start has answered, or failed): from now on their close is the end. */
  handOver(): void {
    for (const fd of this.#holders) closeSync(fd);
    this.#holders = [];
  }

  /** Copies input until its end; `ended` is then called, for the CloseIO that tells the process. */
  copyInput(stdin: Readable, ended: () => void): void {
    if (this.paths.stdin === '') return;
    // O_RDWR: a plain write end cannot be opened before the shim has the read end.
    const input = new Socket({ fd: openSync(this.paths.stdin, O_RDWR | O_NONBLOCK), readable: false, writable: true });
    this.#input = input;
    void pipeline(stdin, input).then(ended, () => undefined);
  }

  /** Settles when every byte of output has been handed on. */
  async drained(): Promise<void> {
    await Promise.all(this.#copies);
  }

  /** Removes the FIFOs. Idempotent. */
  async remove(): Promise<void> {
    this.handOver();
    this.#input?.destroy();
    await rm(this.#directory, { recursive: true, force: true });
  }

  #copyFifo(path: string, output: Writable): void {
    this.#holders.push(openSync(path, O_RDWR | O_NONBLOCK));
    const source = new Socket({ fd: openSync(path, O_RDONLY | O_NONBLOCK), readable: true, writable: false });
    output.once('error', (error) => {
      this.#unread.resolve(error);
      // What nobody reads is thrown away, so that the process is not held up until it is ended.
      source.unpipe(output).resume();
    });
    source.pipe(output, { end: false });
    // A read error is an end too: what has been read has been handed on.
    this.#copies.push(finished(source, { writable: false }).catch(() => undefined));
  }
}
