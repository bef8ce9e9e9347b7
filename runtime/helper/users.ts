/**
 * One user id per sandbox from a range, held by a lock on a file: the kernel frees it when the helper ends, however it
 * ends. The files stay, empty; a number is used again when nobody holds its lock.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { close, mkdirAll, open } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { SysError } from '../../agent/sys/errors.ts';
import { LOCK, O } from '../../agent/sys/linux.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';

/** Root and the distribution's own users are never given away. */
const LOWEST_UID = 65_536;
const MAX_COUNT = 1 << 20;
/** For the whole host, whatever the run root: user ids are the host's, and so are their limits on processes. */
const DIRECTORY = '/run/tskata/uids';

/** Takes the lowest free id of [first, first + count). ResourceExhausted when all are in use. */
export function claimUser(sys: Sys, first: number, count: number): number {
  if (first < LOWEST_UID || count < 1 || count > MAX_COUNT || first + count > 2 ** 32 - 2) {
    throw new TskataError(Code.InvalidArgument, `claim user: range ${first}+${count} is not within bounds`);
  }
  mkdirAll(sys, DIRECTORY, 0o700);
  for (let uid = first; uid < first + count; uid++) {
    const path = `${DIRECTORY}/${uid}`;
    const fd = open(sys, path, O.RDWR | O.CREAT | O.NOFOLLOW, 0o600);
    const result = sys.call(SYS.flock, fd, LOCK.EX | LOCK.NB);
    // The descriptor stays open, close-on-exec, for the life of this process.
    if (result === 0) return uid;
    close(sys, fd);
    if (result !== -E.EAGAIN) throw new SysError('lock', path, -result);
  }
  throw new TskataError(Code.ResourceExhausted, `claim user: all ${count} ids from ${first} on are in use`);
}
