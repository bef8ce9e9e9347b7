/**
 * Vsock for one machine: its address, which the kernel lets only one machine of the host have, and sockets of the host's
 * side that come from a port of root's, by which the guest knows whom to trust.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { HOST_CID, LAST_PRIVILEGED_PORT } from '../../agent/protocol/vsock.ts';
import { close, duplicate, open } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { check, SysError } from '../../agent/sys/errors.ts';
import { AF, IOCTL, O, SOCK } from '../../agent/sys/linux.ts';
import { socket } from '../../agent/sys/sockets.ts';
import { sockaddr, viewOf, words64 } from '../../agent/sys/structs.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';

const DEVICE = '/dev/vhost-vsock';
/** 0 to 2 have meanings of their own, and the last number means "any". */
const FIRST_CID = HOST_CID + 1;
const LAST_CID = 0xffff_fffe;
/** So many taken addresses in a row, of four thousand million, are no coincidence. */
const MAX_TRIES = 64;

/** Holds at most one address, by the opened device that has it. */
export class VsockAddress {
  readonly #sys: Sys;
  #device: number | undefined;

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  /** Takes an address at random: two helpers that choose the same are told by the kernel, and the second chooses again. */
  claim(): number {
    if (this.#device !== undefined) throw new TskataError(Code.AlreadyExists, 'claim a vsock address: there is one');
    const device = open(this.#sys, DEVICE, O.RDWR);
    try {
      const cid = this.#take(device);
      this.#device = device;
      return cid;
    } catch (error) {
      close(this.#sys, device);
      throw error;
    }
  }

  /** A descriptor of the device for QEMU. */
  open(): number {
    if (this.#device === undefined)
      throw new TskataError(Code.FailedPrecondition, `open ${DEVICE}: no address claimed`);
    return duplicate(this.#sys, this.#device);
  }

  #take(device: number): number {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const cid = FIRST_CID + (random32(this.#sys) % (LAST_CID - FIRST_CID + 1));
      const result = this.#sys.call(SYS.ioctl, device, IOCTL.VHOST_VSOCK_SET_GUEST_CID, words64(cid));
      if (result === 0) return cid;
      if (result !== -E.EADDRINUSE) throw new SysError('claim a vsock address of', DEVICE, -result);
    }
    throw new TskataError(Code.ResourceExhausted, `claim a vsock address: ${MAX_TRIES} in a row were taken`);
  }
}

/** A stream socket from a free port of root's. They are for the whole host: two of each machine's. */
export function openRootSocket(sys: Sys): number {
  const fd = socket(sys, AF.VSOCK, SOCK.STREAM);
  try {
    const first = random32(sys) % LAST_PRIVILEGED_PORT;
    for (let step = 0; step < LAST_PRIVILEGED_PORT; step++) {
      const port = 1 + ((first + step) % LAST_PRIVILEGED_PORT);
      const address = sockaddr({ family: 'vsock', cid: HOST_CID, port });
      const result = sys.call(SYS.bind, fd, address, address.length);
      if (result === 0) return fd;
      if (result !== -E.EADDRINUSE) throw new SysError('bind', `vsock port ${port}`, -result);
    }
    throw new TskataError(
      Code.ResourceExhausted,
      `open a vsock socket: all ${LAST_PRIVILEGED_PORT} ports of root are in use - take a profile without vsock`,
    );
  } catch (error) {
    close(sys, fd);
    throw error;
  }
}

function random32(sys: Sys): number {
  const bytes = new Uint8Array(4);
  check(sys.call(SYS.getrandom, bytes, bytes.length, 0), 'getrandom');
  return viewOf(bytes).getUint32(0, true);
}
