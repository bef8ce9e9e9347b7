/**
 * A user namespace that exists only as a descriptor: the form in which the kernel takes the id mapping of a mount. Its one
 * process stands still while the maps are written, and is gone before this returns.
 */
import { close, open, writeFile } from '../../agent/sys/calls.ts';
import { SysError } from '../../agent/sys/errors.ts';
import { type IdRange, idMapText } from '../../agent/sys/id-maps.ts';
import { CLONE, O, P, SIG, W } from '../../agent/sys/linux.ts';
import { pidfdSendSignal } from '../../agent/sys/processes.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';

/** Ids of users and groups. */
export interface IdMaps {
  readonly uidMappings: readonly IdRange[];
  readonly gidMappings: readonly IdRange[];
}

/** The namespace's descriptor, which the caller closes. Throws SysError for maps that the kernel refuses. */
export function openUserNamespace(sys: Sys, { uidMappings, gidMappings }: IdMaps): number {
  const child = sys.spawn({
    cloneFlags: CLONE.NEWUSER,
    slots: {},
    steps: [
      { op: 'sync', name: 'stand', label: 'stand in a user namespace' },
      { op: 'exit', status: 0, label: 'end' },
    ],
  });
  if (typeof child === 'number') throw new SysError('make', 'a user namespace', -child);
  try {
    writeFile(sys, `/proc/${child.pid}/uid_map`, idMapText(uidMappings));
    writeFile(sys, `/proc/${child.pid}/gid_map`, idMapText(gidMappings));
    return open(sys, `/proc/${child.pid}/ns/user`, O.RDONLY);
  } finally {
    pidfdSendSignal(sys, child.pidfd, SIG.KILL);
    sys.call(SYS.waitid, P.PIDFD, child.pidfd, null, W.EXITED, null);
    close(sys, child.pidfd);
    close(sys, child.statusFd);
  }
}
