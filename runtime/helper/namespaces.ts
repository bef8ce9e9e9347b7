/**
 * The sandbox's network namespace and the taps in it. The helper itself stays in the host's: it enters for the length
 * of one synchronous step.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { close, ioctl, open } from '../../agent/sys/calls.ts';
import { AF, CLONE, IFF, IOCTL, O, SOCK } from '../../agent/sys/linux.ts';
import { setns, unshare } from '../../agent/sys/processes.ts';
import { socket } from '../../agent/sys/sockets.ts';
import { ifreq } from '../../agent/sys/structs.ts';
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

  /** A tap of the sandbox network that lives as long as its descriptor. One queue, with virtio headers. */
  openTap(name: string): number {
    return this.#inside(this.fd, () => {
      const fd = open(this.#sys, '/dev/net/tun', O.RDWR | O.NONBLOCK);
      try {
        ioctl(this.#sys, fd, IOCTL.TUNSETIFF, ifreq(name, IFF.TAP | IFF.NO_PI | IFF.VNET_HDR));
        this.#setUp(name);
        return fd;
      } catch (error) {
        close(this.#sys, fd);
        throw error;
      }
    });
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

  /** Refuses whatever is not a network namespace: entering it once is the kernel's own check. */
  #openPath(path: string): number {
    const fd = open(this.#sys, path, O.RDONLY);
    try {
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
