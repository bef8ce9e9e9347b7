/**
 * Mode `vsock-relay CID`: connects two sockets of the shim with the agent's two ports of a guest, and carries bytes both
 * ways until one side ends. It exists because Node can open no vsock; it has no rights but its descriptors, and looks at
 * nothing that it carries.
 *
 * Descriptors: 3 and 4 the shim's sockets of control and bytes, 5 and 6 vsock sockets for them.
 */
import { BYTES_VSOCK_PORT, CONTROL_VSOCK_PORT } from '../../agent/protocol/vsock.ts';
import { E } from '../../agent/sys/errno.ts';
import { SysError } from '../../agent/sys/errors.ts';
import { FdChannel } from '../../agent/sys/fd-channel.ts';
import { connect } from '../../agent/sys/sockets.ts';
import { timespec } from '../../agent/sys/structs.ts';
import type { Loop, Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';

const PORTS = [
  { name: 'control', shim: 3, guest: 5, port: CONTROL_VSOCK_PORT },
  { name: 'bytes', shim: 4, guest: 6, port: BYTES_VSOCK_PORT },
] as const;

/** A guest that does not listen yet refuses at once, and nothing tells when it does. */
const RETRY_MS = 10;
/** What a guest that boots answers, or does not. */
const NOT_YET: readonly number[] = [E.ECONNRESET, E.ETIMEDOUT, E.ENODEV, E.EHOSTUNREACH, E.ECONNREFUSED, E.EINTR];

/** Connects, which waits for the guest, then sets up the loop. Whoever started it ends it when it takes too long. */
export function relayVsock(sys: Sys, loop: Loop, cid: number): void {
  for (const { name, shim, guest, port } of PORTS) {
    connectPatiently(sys, guest, cid, port);
    const ends = [new FdChannel(sys, loop, shim, { name }), new FdChannel(sys, loop, guest, { name })] as const;
    carry(sys, ends[0], ends[1]);
    carry(sys, ends[1], ends[0]);
  }
}

function connectPatiently(sys: Sys, fd: number, cid: number, port: number): void {
  for (;;) {
    const result = connect(sys, fd, { family: 'vsock', cid, port });
    if (result === 0) return;
    if (!NOT_YET.includes(-result)) throw new SysError('connect to', `vsock ${cid}:${port}`, -result);
    sys.call(SYS.nanosleep, timespec(RETRY_MS), null);
  }
}

/** Half a connection is of no use: the first end of any ends the process, and with it all. */
function carry(sys: Sys, from: FdChannel, to: FdChannel): void {
  from.onData = (bytes) => {
    if (!to.write(bytes.slice())) from.setReading(false);
  };
  to.onDrain = () => from.setReading(true);
  from.onEnd = () => sys.exit(0);
}
