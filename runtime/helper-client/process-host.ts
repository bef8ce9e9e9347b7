/**
 * The keeper as the process host of a machine: translates what QEMU's side asks for into calls, and adds what every
 * confined program gets here without being asked. It knows no program.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Descriptor, Jail, SpawnRequest } from '../../agent/protocol/generated/helper.ts';
import type { Init } from '../../agent/protocol/message.ts';
import type { Child, ChildDescriptor, ChildJail, ChildSpec, ProcessHost } from '../vm/process-host.ts';
import type { Keeper } from './keeper.ts';

/** Confining a program means some thousand calls in the child; the host may be busy. */
const SPAWN_TIMEOUT_MS = 30_000;
const DESCRIPTOR_TIMEOUT_MS = 15_000;
const SIGNAL_TIMEOUT_MS = 5_000;
const CLAIM_TIMEOUT_MS = 5_000;
/** Copying a memory file of some gigabytes. */
const COPY_TIMEOUT_MS = 600_000;

/** Files that a confined program may hold open. */
const MAX_OPEN_FILES = 65_536n;
/** Threads of one program: QEMU has one per vCPU and a pool of at most 64. */
const MAX_PROCESSES = 1024n;

/** The helper in the jail of the relay. */
const RELAY = '/tskata-helper';

/** Devices that every program may have: they hold nothing. */
const PLAIN_DEVICES = ['/dev/null', '/dev/zero', '/dev/urandom'];

/** The process host over a running keeper; closing it closes the keeper. `uid`: of programs that are not root. */
export function keeperProcessHost(keeper: Keeper, uid: number): ProcessHost {
  return {
    uid,
    ended: keeper.ended,
    socket: (name) => keeper.socket(name),
    spawn: (spec) => spawnChild(keeper, spec, uid),
    addDescriptor: async (fdset, path, writable) => {
      await keeper.call.addDescriptor({ fdset, file: { path, writable } }, { timeoutMs: DESCRIPTOR_TIMEOUT_MS });
    },
    addTap: async (netdev, tap, vhost) => {
      await keeper.call.addTap({ netdev, tap, vhost }, { timeoutMs: DESCRIPTOR_TIMEOUT_MS });
    },
    copySparse: async (source, target) => {
      await keeper.call.copySparse({ source, target }, { timeoutMs: COPY_TIMEOUT_MS });
    },
    claimVsock: async () => (await keeper.call.claimVsock({}, { timeoutMs: CLAIM_TIMEOUT_MS })).cid,
    relayVsock: (cid) => spawnChild(keeper, relaySpec(keeper.executable, cid), uid),
    close: () => keeper.close(),
  };
}

/** Starts a program and watches for its end. */
export async function spawnChild(keeper: Keeper, spec: ChildSpec, uid: number): Promise<Child> {
  const request = spawnRequest(spec, uid);
  const { pid } = await raceEnd(keeper, keeper.call.spawn(request, { timeoutMs: SPAWN_TIMEOUT_MS }), spec.name);
  return childOf(keeper, spec.name, pid);
}

/** Starts a process that only exists: `title` for the process list, `networkPath` as the keeper's contract says. */
export async function startStandIn(keeper: Keeper, name: string, title: string, networkPath: string): Promise<Child> {
  const call = keeper.call.startStandIn({ name, title, networkPath }, { timeoutMs: SPAWN_TIMEOUT_MS });
  const { pid } = await raceEnd(keeper, call, name);
  return childOf(keeper, name, pid);
}

/** A child of the keeper's, watched from now on. */
function childOf(keeper: Keeper, name: string, pid: number): Child {
  const exited = keeper.call.wait({ name }, { timeoutMs: 0 }).then(
    ({ exitStatus }) => exitStatus,
    // The connection to the helper is gone, and with it every child.
    () => -1,
  );
  return {
    pid,
    exited,
    signal: async (signal) => {
      try {
        await keeper.call.signal({ name, signal }, { timeoutMs: SIGNAL_TIMEOUT_MS });
      } catch (error) {
        // One that has ended needs no signal; so does one whose helper has.
        const code = TskataError.from(error).code;
        if (code !== Code.NotFound && code !== Code.Unavailable) throw error;
      }
    },
  };
}

/** The helper itself in another mode, with nothing but its descriptors. */
function relaySpec(helper: string, cid: number): ChildSpec {
  return {
    name: 'vsock-relay',
    executable: RELAY,
    args: ['vsock-relay', String(cid)],
    descriptors: [
      { kind: 'inherited', name: 'control' },
      { kind: 'inherited', name: 'bytes' },
      { kind: 'vsock-socket' },
      { kind: 'vsock-socket' },
    ],
    jail: {
      binds: [{ source: helper, target: RELAY, readOnly: true, executable: true }],
      network: 'none',
      proc: false,
      newPidNamespace: true,
      keepCapabilities: [],
      additionalGids: [],
    },
  };
}

/** The message for a program. */
function spawnRequest(spec: ChildSpec, uid: number): Init<SpawnRequest> {
  return {
    name: spec.name,
    executable: spec.executable,
    argv: [spec.executable, ...spec.args],
    env: [],
    descriptors: spec.descriptors.map(descriptorOf),
    jail: jailOf(spec.jail, uid),
    log: spec.name === 'qemu' ? 'stderr' : '',
  };
}

function descriptorOf(descriptor: ChildDescriptor): Init<Descriptor> {
  switch (descriptor.kind) {
    case 'inherited':
      return { inherited: descriptor.name };
    case 'file':
      return { file: { path: descriptor.path, writable: descriptor.writable } };
    case 'pair':
      return { pair: descriptor.name };
    case 'listen':
      return { listen: descriptor.path };
    case 'connect':
      return { connect: descriptor.path };
    case 'tap':
      return { tap: descriptor.name };
    case 'vhost-net':
      return { vhostNet: true };
    case 'vhost-vsock':
      return { vhostVsock: true };
    case 'vsock-socket':
      return { vsockSocket: true };
  }
}

function jailOf(jail: ChildJail, uid: number): Init<Jail> {
  const root = jail.keepCapabilities.length > 0;
  const openFiles = jail.maxOpenFiles === undefined ? MAX_OPEN_FILES : BigInt(jail.maxOpenFiles);
  const devices = PLAIN_DEVICES.map((path) => ({ source: path, target: path, device: true }));
  return {
    uid: root ? 0 : uid,
    gid: root ? 0 : uid,
    additionalGids: jail.additionalGids,
    binds: [...jail.binds, ...devices],
    newPidNamespace: jail.newPidNamespace,
    network: jail.network,
    keepCapabilities: jail.keepCapabilities,
    rlimits: [
      { type: 'RLIMIT_CORE', soft: 0n, hard: 0n },
      { type: 'RLIMIT_NOFILE', soft: openFiles, hard: openFiles },
      { type: 'RLIMIT_NPROC', soft: MAX_PROCESSES, hard: MAX_PROCESSES },
    ],
    noNewPrivileges: true,
    proc: jail.proc,
    directories: [],
  };
}

async function raceEnd<T>(keeper: Keeper, work: Promise<T>, name: string): Promise<T> {
  const ended = keeper.ended.then((reason): never => {
    throw new TskataError(Code.Unavailable, `start ${name}: ${reason}`);
  });
  return Promise.race([work, ended]);
}
