/**
 * Owns the way from messages of the contract to the agent's own types (`container/spec.ts`): what comes out is checked
 * and trusted by everything after. Knows no kernel call.
 */

import { parsePropagation } from '../container/plan/mount-options.ts';
import { isMountType } from '../container/plan/mounts.ts';
import { isNamespaceName } from '../container/plan/namespaces.ts';
import { isNamespacedSysctl, isSysctlKey } from '../container/plan/sysctl.ts';
import { isRlimit } from '../container/rlimits.ts';
import type {
  Capabilities,
  ContainerSpec,
  Device,
  IoPriority,
  Mount,
  NamespaceName,
  ProcessSpec,
  Seccomp,
} from '../container/spec.ts';
import type {
  Capabilities as CapabilitiesMessage,
  ContainerSpec as ContainerSpecMessage,
  Device as DeviceMessage,
  Mount as MountMessage,
  Process as ProcessMessage,
  Seccomp as SeccompMessage,
} from '../protocol/generated/agent.ts';
import { MAX_PROCESS_STRING_BYTES, MAX_PROCESS_STRINGS } from '../protocol/limits.ts';
import { checkAbsolute, checkCount, checkId, checkNumber, checkRelative, checkText, invalid, quoted } from './check.ts';

const MAX_MOUNTS = 1024;
const MAX_DEVICES = 256;
const MAX_PATHS = 256;
const MAX_RULES = 1024;

/** Where a storage that a mount names is in the guest. */
export interface StorageLocation {
  readonly path: string;
  readonly subpath: string;
  readonly readOnly: boolean;
}

export type FindStorage = (field: string, id: string) => StorageLocation;

const NO_CAPABILITIES: CapabilitiesMessage = {
  bounding: [],
  effective: [],
  inheritable: [],
  permitted: [],
  ambient: [],
};

/** A process. Throws TskataError (invalid argument). */
export function convertProcess(field: string, message: ProcessMessage | undefined): ProcessSpec {
  if (message === undefined) throw invalid(field, 'is missing');
  if (message.args.length === 0) throw invalid(`${field}.args`, 'is empty');
  checkCount(`${field}.args`, message.args, MAX_PROCESS_STRINGS);
  checkCount(`${field}.env`, message.env, MAX_PROCESS_STRINGS);
  for (const word of message.args) checkText(`${field}.args`, word, MAX_PROCESS_STRING_BYTES);
  for (const word of message.env) checkText(`${field}.env`, word, MAX_PROCESS_STRING_BYTES);
  if (message.args[0] === '') throw invalid(`${field}.args[0]`, 'is empty');
  const user = message.user;
  checkCount(`${field}.user.additional_gids`, user?.additionalGids ?? [], 65536);
  const umask = user?.umask;
  for (const { type } of message.rlimits) {
    if (!isRlimit(type)) throw invalid(`${field}.rlimits`, `${quoted(type)} is not known`);
  }
  const score = message.oomScoreAdj ?? 0;
  if (score < -1000 || score > 1000) throw invalid(`${field}.oom_score_adj`, `${score} is not in -1000..1000`);
  return {
    terminal: message.terminal,
    rows: message.rows & 0xffff,
    columns: message.columns & 0xffff,
    uid: user?.uid ?? 0,
    gid: user?.gid ?? 0,
    additionalGids: user?.additionalGids ?? [],
    ...(umask === undefined ? {} : { umask: umask & 0o777 }),
    username: checkText(`${field}.user.username`, user?.username ?? '', 256),
    args: message.args,
    env: message.env,
    cwd: checkAbsolute(`${field}.cwd`, message.cwd === '' ? '/' : message.cwd),
    capabilities: convertCapabilities(field, message.capabilities ?? NO_CAPABILITIES),
    rlimits: message.rlimits,
    noNewPrivileges: message.noNewPrivileges,
    oomScoreAdj: score,
    ...(message.scheduler === undefined ? {} : { scheduler: message.scheduler }),
    ...(message.ioPriority === undefined ? {} : { ioPriority: convertIoPriority(field, message.ioPriority) }),
    personality: message.personality,
  };
}

function convertIoPriority(field: string, { ioClass, level }: IoPriority): IoPriority {
  return {
    ioClass: checkNumber(`${field}.io_priority.io_class`, BigInt(ioClass), 0, 3),
    level: checkNumber(`${field}.io_priority.level`, BigInt(level), 0, 7),
  };
}

function convertCapabilities(field: string, message: CapabilitiesMessage): Capabilities {
  for (const set of [message.bounding, message.effective, message.inheritable, message.permitted, message.ambient]) {
    checkCount(`${field}.capabilities`, set, 64);
  }
  return message;
}

/** A container. Throws TskataError (invalid argument). */
export function convertSpec(message: ContainerSpecMessage | undefined, find: FindStorage): ContainerSpec {
  if (message === undefined) throw invalid('spec', 'is missing');
  checkCount('spec.mounts', message.mounts, MAX_MOUNTS);
  checkCount('spec.devices', message.devices, MAX_DEVICES);
  checkCount('spec.masked_paths', message.maskedPaths, MAX_PATHS);
  checkCount('spec.readonly_paths', message.readonlyPaths, MAX_PATHS);
  const seccomp = message.seccomp === undefined ? undefined : convertSeccomp(message.seccomp);
  const namespaces = convertNamespaces(message.namespaces);
  if (namespaces.includes('user') && (message.uidMappings.length === 0 || message.gidMappings.length === 0)) {
    throw invalid('spec.uid_mappings', 'a user namespace needs mappings of users and groups');
  }
  if (namespaces.includes('pid') && message.pidNamespaceOf !== '') {
    throw invalid('spec.pid_namespace_of', 'contradicts a pid namespace of its own');
  }
  checkCount('spec.uid_mappings', message.uidMappings, 340);
  checkCount('spec.gid_mappings', message.gidMappings, 340);
  if (message.rootfsPropagation !== '' && parsePropagation(message.rootfsPropagation) === undefined) {
    throw invalid('spec.rootfs_propagation', `${quoted(message.rootfsPropagation)} is not known`);
  }
  return {
    process: convertProcess('spec.process', message.process),
    rootReadonly: message.rootReadonly,
    hostname: checkText('spec.hostname', message.hostname, 64),
    domainname: checkText('spec.domainname', message.domainname, 64),
    mounts: message.mounts.map((mount, index) => convertMount(`spec.mounts[${index}]`, mount, find)),
    namespaces,
    pidNamespaceOf: message.pidNamespaceOf === '' ? '' : checkId('spec.pid_namespace_of', message.pidNamespaceOf),
    uidMappings: message.uidMappings,
    gidMappings: message.gidMappings,
    devices: message.devices.flatMap((device, index) => convertDevice(`spec.devices[${index}]`, device)),
    ...(seccomp === undefined ? {} : { seccomp }),
    maskedPaths: message.maskedPaths.map((path) => checkAbsolute('spec.masked_paths', path)),
    readonlyPaths: message.readonlyPaths.map((path) => checkAbsolute('spec.readonly_paths', path)),
    sysctls: convertSysctls(message.sysctls),
    rootfsPropagation: message.rootfsPropagation,
  };
}

function convertNamespaces(names: readonly string[]): readonly NamespaceName[] {
  checkCount('spec.namespaces', names, 16);
  const namespaces: NamespaceName[] = [];
  for (const name of names) {
    if (!isNamespaceName(name)) throw invalid('spec.namespaces', `${quoted(name)} is not known`);
    if (!namespaces.includes(name)) namespaces.push(name);
  }
  return namespaces;
}

function convertSysctls(sysctls: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  for (const [key, value] of sysctls) {
    checkText('spec.sysctls', value, 4096);
    if (!isSysctlKey(key) || !isNamespacedSysctl(key)) {
      throw invalid('spec.sysctls', `${quoted(key)} is not a parameter of a namespace`);
    }
  }
  return sysctls;
}

function convertMount(field: string, message: MountMessage, find: FindStorage): Mount {
  const destination = checkAbsolute(`${field}.destination`, message.destination);
  checkCount(`${field}.options`, message.options, 64);
  for (const option of message.options) checkText(`${field}.options`, option, 4096);
  const common = { destination, type: message.type, source: checkText(`${field}.source`, message.source, 256) };
  if (message.storageId === '') {
    const bind = message.type === 'bind' || message.options.some((option) => option === 'bind' || option === 'rbind');
    if (bind) throw invalid(`${field}.storage_id`, 'a bind needs a storage: there are no host paths here');
    if (!isMountType(message.type)) throw invalid(`${field}.type`, `${quoted(message.type)} cannot be mounted`);
    return { ...common, options: message.options, subpath: '', isFile: false };
  }
  const storage = find(`${field}.storage_id`, message.storageId);
  const below = checkRelative(`${field}.storage_path`, message.storagePath);
  const subpath = [storage.subpath, below].filter((part) => part !== '').join('/');
  return {
    ...common,
    type: 'bind',
    // Last, so that nothing in the mount's own words undoes it.
    options: storage.readOnly ? [...message.options, 'ro'] : message.options,
    storagePath: storage.path,
    subpath,
    isFile: message.isFile,
  };
}

function convertDevice(field: string, message: DeviceMessage): Device[] {
  const path = checkAbsolute(`${field}.path`, message.path);
  const type = message.type === 'u' ? 'c' : message.type;
  if (type !== 'c' && type !== 'b' && type !== 'p')
    throw invalid(`${field}.type`, `${quoted(message.type)} is not known`);
  if (path.endsWith('/')) throw invalid(`${field}.path`, `${quoted(path)} names no file`);
  return [
    {
      type,
      path,
      major: checkNumber(`${field}.major`, message.major, 0, 0xfff),
      minor: checkNumber(`${field}.minor`, message.minor, 0, 0xfffff),
      mode: message.fileMode === 0 ? 0o666 : message.fileMode & 0o777,
      uid: message.uid,
      gid: message.gid,
    },
  ];
}

function convertSeccomp(message: SeccompMessage): Seccomp {
  checkCount('spec.seccomp.syscalls', message.syscalls, MAX_RULES);
  return {
    defaultAction: message.defaultAction,
    ...(message.defaultErrno === undefined ? {} : { defaultErrno: message.defaultErrno }),
    architectures: message.architectures,
    flags: message.flags,
    syscalls: message.syscalls.map(({ names, action, errno, args }) => {
      checkCount('spec.seccomp.syscalls.args', args, 6);
      return { names, action, ...(errno === undefined ? {} : { errno }), args };
    }),
  };
}
