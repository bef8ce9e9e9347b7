/**
 * Owns the kernel's device events. It does not parse them: an event only means that it is worth looking again.
 */
import { close } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { check } from '../sys/errors.ts';
import { AF, EPOLL, SO, SOCK, SOL } from '../sys/linux.ts';
import { bind, setsockopt32, socket } from '../sys/sockets.ts';
import type { Loop, Sys } from '../sys/sys.ts';

const NETLINK_KOBJECT_UEVENT = 15;
const KERNEL_GROUP = 1;
/** Room for the burst of a hot-plug while the loop is busy. */
const BUFFER_BYTES = 256 * 1024;

/** A source of "something about devices has changed". */
export class Uevents {
  private readonly sys: Sys;
  private readonly loop: Loop;
  private readonly fd: number;
  private readonly listeners = new Set<() => void>();
  private readonly buffer = new Uint8Array(8192);

  constructor(sys: Sys, loop: Loop) {
    this.sys = sys;
    this.loop = loop;
    this.fd = socket(sys, AF.NETLINK, SOCK.DGRAM | SOCK.NONBLOCK, NETLINK_KOBJECT_UEVENT);
    setsockopt32(sys, this.fd, SOL.SOCKET, SO.RCVBUF, BUFFER_BYTES);
    bind(sys, this.fd, { family: 'netlink', port: 0, groups: KERNEL_GROUP }, 'uevents');
    loop.watch(this.fd, EPOLL.IN, () => this.drain());
  }

  /** The first defined result of `look`, tried now and after every event; undefined at the deadline. */
  waitFor<T>(look: () => T | undefined, timeoutMs: number): Promise<T | undefined> {
    const now = look();
    if (now !== undefined) return Promise.resolve(now);
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        this.listeners.delete(listener);
        cancel();
        settle();
      };
      const listener = (): void => {
        try {
          const found = look();
          if (found !== undefined) end(() => resolve(found));
        } catch (error) {
          end(() => reject(error));
        }
      };
      const cancel = this.loop.timer(timeoutMs, () => end(() => resolve(undefined)));
      this.listeners.add(listener);
    });
  }

  close(): void {
    this.loop.unwatch(this.fd);
    close(this.sys, this.fd);
  }

  private drain(): void {
    for (;;) {
      const length = this.sys.read(this.fd, this.buffer, 0, this.buffer.length);
      if (length === -E.EAGAIN) break;
      // ENOBUFS: events were lost, which is an event as well.
      if (length !== -E.ENOBUFS) check(length, 'read uevents');
    }
    for (const listener of [...this.listeners]) listener();
  }
}
