/**
 * The descriptors that a confined program gets, by what they are: inherited from the shim by name, files opened here,
 * ends of pairs, sockets, taps, vhost. The program itself never sees a path.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { close, fcntl, open, stat, unlink } from '../../agent/sys/calls.ts';
import { check } from '../../agent/sys/errors.ts';
import { AF, AT, F, O, S, SOCK } from '../../agent/sys/linux.ts';
import { bind, connect, listen, socket, socketpair } from '../../agent/sys/sockets.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import { openRootSocket, VsockAddress } from './vsock.ts';

const FD_CLOEXEC = 1;
const VHOST_NET = '/dev/vhost-net';

/** Where a descriptor comes from; mirrors `Descriptor` of the contract. */
export type DescriptorSource =
  | { readonly kind: 'inherited'; readonly name: string }
  | { readonly kind: 'file'; readonly path: string; readonly writable: boolean }
  | { readonly kind: 'pair'; readonly name: string }
  | { readonly kind: 'accept'; readonly name: string }
  | { readonly kind: 'listen'; readonly path: string }
  | { readonly kind: 'connect'; readonly path: string }
  | { readonly kind: 'tap'; readonly name: string }
  | { readonly kind: 'vhost-net' }
  | { readonly kind: 'vhost-vsock' }
  | { readonly kind: 'vsock-socket' };

/** A descriptor for one spawn; `ours` ones are closed after it. */
export interface Descriptor {
  readonly fd: number;
  readonly ours: boolean;
}

/** Opens a disk image: a regular file or a block device, never something that an open could hang on. */
export function openDisk(sys: Sys, path: string, writable: boolean): number {
  const fd = open(sys, path, (writable ? O.RDWR : O.RDONLY) | O.NONBLOCK | O.NOCTTY);
  const kind = stat(sys, '', AT.EMPTY_PATH, fd).mode & S.IFMT;
  if (kind === S.IFREG || kind === S.IFBLK) return fd;
  close(sys, fd);
  throw new TskataError(Code.InvalidArgument, `open ${path}: neither a regular file nor a block device`);
}

/** Turns sources into descriptors. */
export class Descriptors {
  /** The machine's address. */
  readonly vsock: VsockAddress;
  readonly #sys: Sys;
  readonly #inherited: Map<string, number>;
  readonly #workspace: string;
  readonly #openTap: (name: string) => number;
  /** The end of a pair that nobody has taken yet. */
  readonly #pending = new Map<string, number>();

  /** `workspace`: a directory that only the helper sees. */
  constructor(sys: Sys, inherited: ReadonlyMap<string, number>, workspace: string, openTap: (name: string) => number) {
    this.#sys = sys;
    this.#inherited = new Map(inherited);
    this.#workspace = workspace;
    this.#openTap = openTap;
    this.vsock = new VsockAddress(sys);
    for (const fd of inherited.values()) fcntl(sys, fd, F.SETFD, FD_CLOEXEC);
  }

  /** An inherited one goes to one child only: the shim sees its end when that child has ended. */
  inherited(name: string): Descriptor {
    const fd = this.#inherited.get(name);
    if (fd === undefined) {
      throw new TskataError(Code.NotFound, `find descriptor ${name}: the helper has none, or has given it away`);
    }
    this.#inherited.delete(name);
    return { fd, ours: true };
  }

  /** Opens all sources in order, or none. */
  openAll(sources: readonly DescriptorSource[]): Descriptor[] {
    const opened: Descriptor[] = [];
    try {
      for (const source of sources) opened.push(this.#open(source));
    } catch (error) {
      this.closeAll(opened);
      throw error;
    }
    return opened;
  }

  closeAll(descriptors: readonly Descriptor[]): void {
    for (const descriptor of descriptors) if (descriptor.ours) close(this.#sys, descriptor.fd);
  }

  /** One end of a named pair: the first call makes it, the second takes the other end. */
  takePair(name: string): number {
    const pending = this.#pending.get(name);
    if (pending !== undefined) {
      this.#pending.delete(name);
      return pending;
    }
    const [first, second] = socketpair(this.#sys, SOCK.STREAM);
    this.#pending.set(name, second);
    return first;
  }

  #open(source: DescriptorSource): Descriptor {
    switch (source.kind) {
      case 'inherited':
        return this.inherited(source.name);
      case 'file':
        return { fd: openDisk(this.#sys, source.path, source.writable), ours: true };
      case 'pair':
        return { fd: this.takePair(source.name), ours: true };
      case 'accept':
        return { fd: this.#acceptor(source.name), ours: true };
      case 'listen':
        return { fd: this.#publicListener(source.path), ours: true };
      case 'connect':
        return { fd: this.#connected(source.path), ours: true };
      case 'tap':
        return { fd: this.#openTap(source.name), ours: true };
      case 'vhost-net':
        return { fd: open(this.#sys, VHOST_NET, O.RDWR), ours: true };
      case 'vhost-vsock':
        return { fd: this.vsock.open(), ours: true };
      case 'vsock-socket':
        return { fd: openRootSocket(this.#sys), ours: true };
    }
  }

  /** For programs that want to accept (virtiofsd): our connection is the first in the queue before they run. */
  #acceptor(name: string): number {
    if (this.#pending.has(name)) {
      throw new TskataError(Code.AlreadyExists, `listen for ${name}: its other end is waiting already`);
    }
    const path = `${this.#workspace}/accept.sock`;
    const listener = this.#listener(path);
    try {
      this.#pending.set(name, this.#connected(path));
      return listener;
    } catch (error) {
      close(this.#sys, listener);
      throw error;
    } finally {
      unlink(this.#sys, path);
    }
  }

  /** Confined programs under other uids connect to it: who may is decided by the directory that it lies in. */
  #publicListener(path: string): number {
    const fd = this.#listener(path);
    check(this.#sys.call(SYS.fchmodat, AT.FDCWD, path, 0o666), 'change mode of', path);
    return fd;
  }

  #listener(path: string): number {
    const fd = socket(this.#sys, AF.UNIX, SOCK.STREAM);
    try {
      this.#viaDirectory(path, (short) => bind(this.#sys, fd, { family: 'unix', path: short }, path));
      listen(this.#sys, fd, 1);
      return fd;
    } catch (error) {
      close(this.#sys, fd);
      throw error;
    }
  }

  #connected(path: string): number {
    const fd = socket(this.#sys, AF.UNIX, SOCK.STREAM);
    try {
      const result = this.#viaDirectory(path, (short) => connect(this.#sys, fd, { family: 'unix', path: short }));
      check(result, 'connect to', path);
      return fd;
    } catch (error) {
      close(this.#sys, fd);
      throw error;
    }
  }

  /** A unix address has room for 107 bytes, a path below a run root may be longer: it is named by its directory's descriptor. */
  #viaDirectory<T>(path: string, action: (short: string) => T): T {
    const slash = path.lastIndexOf('/');
    const directory = open(this.#sys, path.slice(0, slash + 1), O.PATH | O.DIRECTORY);
    try {
      return action(`/proc/self/fd/${directory}/${path.slice(slash + 1)}`);
    } finally {
      close(this.#sys, directory);
    }
  }
}
