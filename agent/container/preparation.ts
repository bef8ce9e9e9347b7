/**
 * Owns what is made in the guest for a container before its plan can be computed: directories, files of the host,
 * device nodes, the filter. All of it is in memory, so nothing here waits.
 */
import { CONTAINERS, NODES } from '../paths.ts';
import type { GuestFile } from '../protocol/generated/agent.ts';
import type { Scope } from '../protocol/scope.ts';
import { exists, mkdirAll, writeFile } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { check, SysError } from '../sys/errors.ts';
import { AT, O, S } from '../sys/linux.ts';
import { makeDevice } from '../sys/structs.ts';
import type { Sys } from '../sys/sys.ts';
import { SYS } from '../sys/syscalls.ts';
import { guestId } from './ids.ts';
import { nodePath, withDefaults } from './plan/devices.ts';
import type { Filter } from './plan/identity.ts';
import { translateSeccomp } from './plan/seccomp.ts';
import type { BoundFile, ContainerSpec, Device, Seccomp } from './spec.ts';

/** The container's directory: "root" is where its root gets mounted, "files" holds files of the host. */
export function makeDirectories(sys: Sys, id: string, scope: Scope): string {
  const directory = `${CONTAINERS}/${id}`;
  const made = [directory, `${directory}/root`, `${directory}/files`];
  scope.add(() => {
    for (const path of [...made].reverse()) sys.call(SYS.unlinkat, AT.FDCWD, path, AT.REMOVEDIR);
  });
  for (const path of made) mkdirAll(sys, path);
  return directory;
}

/** Writes the host's files, owned by the container's root. */
export function writeFiles(
  sys: Sys,
  directory: string,
  files: readonly GuestFile[],
  spec: Pick<ContainerSpec, 'uidMappings' | 'gidMappings'>,
  scope: Scope,
): BoundFile[] {
  const uid = guestId(spec.uidMappings, 0) ?? 0;
  const gid = guestId(spec.gidMappings, 0) ?? 0;
  return files.map(({ destination, content, mode }, index) => {
    const path = `${directory}/files/${index}`;
    scope.add(() => {
      sys.call(SYS.unlinkat, AT.FDCWD, path, 0);
    });
    writeFile(sys, path, content, O.WRONLY | O.CREAT | O.EXCL, (mode === 0 ? 0o644 : mode) & 0o777);
    if (uid !== 0 || gid !== 0) check(sys.call(SYS.fchownat, AT.FDCWD, path, uid, gid, 0), 'own', path);
    return { destination, path };
  });
}

/** Nodes for a container that may not make them. All containers share them: same number and mode, same node. */
export function makeNodes(sys: Sys, devices: readonly Device[]): string {
  const types = { b: S.IFBLK, c: S.IFCHR, p: S.IFIFO } as const;
  mkdirAll(sys, NODES);
  for (const device of withDefaults(devices)) {
    const path = nodePath(NODES, device);
    const number = makeDevice(device.major, device.minor);
    const result = sys.call(SYS.mknodat, AT.FDCWD, path, types[device.type] | device.mode, number);
    if (result !== -E.EEXIST) check(result, 'make device node', path);
  }
  return NODES;
}

/** Throws SeccompError, or SysError when libseccomp refuses. */
export function compileFilter(sys: Sys, seccomp: Seccomp): Filter {
  // The kernel has this file exactly when it runs 32-bit programs.
  const runs32Bit = exists(sys, '/proc/sys/abi/vsyscall32');
  const { source, flags } = translateSeccomp(seccomp, runs32Bit);
  const bytes = sys.seccompCompile(source);
  if (typeof bytes === 'number') throw new SysError('compile the seccomp filter', '', -bytes);
  return { bytes, flags };
}
