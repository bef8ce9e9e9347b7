/**
 * From a SpawnRequest of the wire to what a plan is built from: checked, with what only the host can tell (kinds of
 * bind sources, device numbers, our own limits). Every mistake is refused before anything is made.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Bind, Descriptor, Jail, Rlimit } from '../../agent/protocol/generated/helper.ts';
import { stat } from '../../agent/sys/calls.ts';
import { RLIMIT, S } from '../../agent/sys/linux.ts';
import { resourceLimit } from '../../agent/sys/processes.ts';
import { makeDevice } from '../../agent/sys/structs.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { findCapability } from './credentials.ts';
import type { DescriptorSource } from './descriptors.ts';
import type { JailBind, JailDevice, JailLimit, JailSpec } from './jail.ts';
import { MIN_OPEN_FILES } from './jail-plan.ts';

const MAX_BINDS = 512;
const MAX_DIRECTORIES = 64;

/** What `jail.network` may name besides the sandbox's namespace. */
type NetworkOfJail = JailSpec['network'];

/** The jail that a request describes. `sandboxNetwork` is asked only when the request names it. */
export function readJail(sys: Sys, jail: Jail, sandboxNetwork: () => number): JailSpec {
  if (jail.binds.length > MAX_BINDS || jail.directories.length > MAX_DIRECTORIES) {
    throw invalid(`spawn: more than ${MAX_BINDS} binds or ${MAX_DIRECTORIES} directories`);
  }
  const devices: JailDevice[] = [];
  const binds: JailBind[] = [];
  for (const bind of jail.binds) {
    if (bind.device) devices.push(readDevice(sys, bind));
    else binds.push(readBind(sys, bind));
  }
  return {
    uid: jail.uid,
    gid: jail.gid,
    additionalGids: jail.additionalGids,
    binds,
    devices,
    directories: jail.directories.map(requireTarget),
    proc: jail.proc,
    newPidNamespace: jail.newPidNamespace,
    network: readNetwork(jail.network, sandboxNetwork),
    keepCapabilities: jail.keepCapabilities.map(requireCapability),
    limits: jail.rlimits.map((limit) => readLimit(sys, limit)),
    noNewPrivileges: jail.noNewPrivileges,
  };
}

/** The one source that a Descriptor names. */
export function readDescriptor(descriptor: Descriptor): DescriptorSource {
  const { inherited, file, pair, accept, listen, connect, tap, vhostNet, vhostVsock, vsockSocket } = descriptor;
  if (inherited !== undefined) return { kind: 'inherited', name: inherited };
  if (file !== undefined) return { kind: 'file', path: file.path, writable: file.writable };
  if (pair !== undefined) return { kind: 'pair', name: pair };
  if (accept !== undefined) return { kind: 'accept', name: accept };
  if (listen !== undefined) return { kind: 'listen', path: listen };
  if (connect !== undefined) return { kind: 'connect', path: connect };
  if (tap !== undefined) return { kind: 'tap', name: tap };
  if (vhostNet === true) return { kind: 'vhost-net' };
  if (vhostVsock === true) return { kind: 'vhost-vsock' };
  if (vsockSocket === true) return { kind: 'vsock-socket' };
  throw invalid('spawn: a descriptor without a source');
}

function invalid(message: string): TskataError {
  return new TskataError(Code.InvalidArgument, message);
}

/** Targets are made below the jail's root; "." and ".." have no business there. */
function requireTarget(path: string): string {
  const names = path.split('/').slice(1);
  if (!path.startsWith('/') || path === '/' || names.some((name) => name === '' || name === '.' || name === '..')) {
    throw invalid(`spawn: jail path ${JSON.stringify(path)}: not absolute and plain`);
  }
  return path;
}

function readBind(sys: Sys, bind: Bind): JailBind {
  const kind = stat(sys, bind.source, 0).mode & S.IFMT;
  return {
    source: bind.source,
    target: requireTarget(bind.target),
    kind: kind === S.IFDIR ? 'directory' : 'file',
    readOnly: bind.readOnly,
    recursive: bind.recursive,
    executable: bind.executable,
  };
}

function readDevice(sys: Sys, bind: Bind): JailDevice {
  const status = stat(sys, bind.source, 0);
  if ((status.mode & S.IFMT) !== S.IFCHR) throw invalid(`spawn: device ${bind.source}: not a character device`);
  const target = requireTarget(bind.target);
  if (!target.startsWith('/dev/')) throw invalid(`spawn: device ${target}: not below /dev`);
  return { target, rdev: makeDevice(status.rdev.major, status.rdev.minor) };
}

function readNetwork(name: string, sandboxNetwork: () => number): NetworkOfJail {
  if (name === 'none' || name === 'host') return name;
  if (name === 'sandbox') return sandboxNetwork();
  throw invalid(`spawn: jail network ${JSON.stringify(name)}: must be none, sandbox or host`);
}

function requireCapability(name: string): number {
  const number = findCapability(name);
  if (number === undefined) throw invalid(`spawn: unknown capability ${JSON.stringify(name)}`);
  return number;
}

/** Above our own hard limit the kernel wants a capability that containers often lack: the limit is cut instead. */
function readLimit(sys: Sys, limit: Rlimit): JailLimit {
  const name = limit.type.replace(/^RLIMIT_/, '');
  const resource = (RLIMIT as Readonly<Record<string, number | undefined>>)[name];
  if (resource === undefined) throw invalid(`spawn: unknown resource limit ${JSON.stringify(limit.type)}`);
  const own = resourceLimit(sys, 0, resource).hard;
  const hard = lesser(limit.hard, own);
  const soft = lesser(limit.soft, hard);
  if (resource === RLIMIT.NOFILE && soft < BigInt(MIN_OPEN_FILES)) {
    throw invalid(`spawn: limit of open files ${soft}: must be at least ${MIN_OPEN_FILES}`);
  }
  return { resource, soft, hard };
}

/** Math.min takes no bigint. */
function lesser(first: bigint, second: bigint): bigint {
  if (first < second) return first;
  return second;
}
