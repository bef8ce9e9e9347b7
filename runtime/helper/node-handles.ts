/**
 * Gives open sockets to the shim. Node takes descriptors by one way only: the channel of its `child_process`, on which a
 * line of JSON with a descriptor beside it arrives as a message with a handle.
 */
import { SysError } from '../../agent/sys/errors.ts';
import { sendDescriptors } from '../../agent/sys/sockets.ts';
import { utf8 } from '../../agent/sys/structs.ts';
import type { Sys } from '../../agent/sys/sys.ts';

/** Sends a descriptor under a name. The caller keeps its own. */
export function sendHandle(sys: Sys, channel: number, name: string, fd: number): void {
  const line = utf8(`${JSON.stringify({ cmd: 'NODE_HANDLE', type: 'net.Native', msg: { name } })}\n`);
  const sent = sendDescriptors(sys, channel, line, [fd]);
  if (sent !== line.length) throw new SysError('give to the shim', `the socket ${name}`, sent < 0 ? -sent : 0);
}
