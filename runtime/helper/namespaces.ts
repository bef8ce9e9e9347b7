/**
 * The sandbox's network namespace and the taps in it. The helper itself stays in the host's: it enters for the length
 * of one synchronous step.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { close, ioctl, open, stat } from '../../agent/sys/calls.ts';
import { AF, AT, CLONE, IFF, IOCTL, O, SOCK } from '../../agent/sys/linux.ts';
import { setns, unshare } from '../../agent/sys/processes.ts';
import { socket } from '../../agent/sys/sockets.ts';
import { type FileStatus, ifreq } from '../../agent/sys/structs.ts';
import type { Sys } from '../../agent/sys/sys.ts';

const OWN_NETWORK = '/proc/self/ns/net';

/** Holds at most one network namespace, as a descriptor. */
export class SandboxNetwork {
  readonly #sys: Sys;
  #fd: number | undefined;

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  /** The namespace, for a child to enter. */
  get fd(): number {
    if (this.#fd === undefined) {
      throw new TskataError(Code.FailedPrecondition, 'enter the sandbox network: none was opened');
    }
    return this.#fd;
  }

  /** Makes a new namespace (empty `path`) or opens one. Returns a path under /proc by which others enter it. */
  open(path: string, ownPid: number): string {
    if (this.#fd !== undefined) throw new TskataError(Code.AlreadyExists, 'open the sandbox network: it is open');
    this.#fd = path === '' ? this.#create() : this.#openPath(path);
    return `/proc/${ownPid}/fd/${this.#fd}`;
  }

  /** Forgets the namespace. Whoever has entered it stays. Idempotent. */
  close(): void {
    if (this.#fd !== undefined) close(this.#sys, this.#fd);
    this.#fd = undefined;
  }

  /** The namespace; one that is not open yet is opened as `open` does. */
  ensure(path: string): number {
    this.#fd ??= path === '' ? this.#create() : this.#openPath(path);
    return this.#fd;
  }

  /** Runs one synchronous step in the namespace. Sockets that it makes stay there. */
  inside<T>(action: () => T): T {
    return this.#inside(this.fd, action);
  }

  /** A tap of the sandbox network that lives as long as its descriptor, and is down. One queue, with virtio headers. */
  makeTap(name: string): number {
    return this.inside(() => {
      const fd = open(this.#sys, '/dev/net/tun', O.RDWR | O.NONBLOCK);
      try {
        ioctl(this.#sys, fd, IOCTL.TUNSETIFF, ifreq(name, IFF.TAP | IFF.NO_PI | IFF.VNET_HDR));
        return fd;
      } catch (error) {
        close(this.#sys, fd);
        throw error;
      }
    });
  }

  /** The same, up. */
  openTap(name: string): number {
    const fd = this.makeTap(name);
    this.inside(() => this.#setUp(name));
    return fd;
  }

  #create(): number {
    const home = open(this.#sys, OWN_NETWORK, O.RDONLY);
    try {
      unshare(this.#sys, CLONE.NEWNET);
      try {
        this.#setUp('lo');
        return open(this.#sys, OWN_NETWORK, O.RDONLY);
      } finally {
        setns(this.#sys, home, CLONE.NEWNET);
      }
    } finally {
      close(this.#sys, home);
    }
  }

  /**
   * Refuses whatever is not a network namespace (entering it once is the kernel's own check), and the host's: what is
   * carried into a machine is lost to the host.
   */
  #openPath(path: string): number {
    const fd = open(this.#sys, path, O.RDONLY);
    try {
      if (isSameFile(stat(this.#sys, '', AT.EMPTY_PATH, fd), stat(this.#sys, OWN_NETWORK, 0))) {
        throw new TskataError(
          Code.InvalidArgument,
          `open the sandbox network: ${path} is the network of the host (hostNetwork), which a virtual machine cannot share`,
        );
      }
      return this.#inside(fd, () => fd);
    } catch (error) {
      close(this.#sys, fd);
      throw error;
    }
  }

  #inside<T>(fd: number, action: () => T): T {
    const home = open(this.#sys, OWN_NETWORK, O.RDONLY);
    try {
      setns(this.#sys, fd, CLONE.NEWNET);
      try {
        return action();
      } finally {
        setns(this.#sys, home, CLONE.NEWNET);
      }
    } finally {
      close(this.#sys, home);
    }
  }

  #setUp(name: string): void {
    const fd = socket(this.#sys, AF.INET, SOCK.DGRAM);
    try {
      ioctl(this.#sys, fd, IOCTL.SIOCSIFFLAGS, ifreq(name, IFF.UP));
    } finally {
      close(this.#sys, fd);
    }
  }
}

function isSameFile(one: FileStatus, other: FileStatus): boolean {
  return (
    one.inode === other.inode && one.device.major === other.device.major && one.device.minor === other.device.minor
  );
}
