/**
 * `start` of the shim: makes its socket, starts Node with it, tells the shim in one message who it is, and returns the
 * address. Clients can connect at once: they wait in the socket's queue while Node starts.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import {
  close,
  exists,
  mkdirAll,
  open,
  readFile,
  readlink,
  rename,
  writeAll,
  writeFile,
} from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { check, SysError } from '../../agent/sys/errors.ts';
import { AF, AT, CLOCK, LOCK, O, SOCK } from '../../agent/sys/linux.ts';
import type { SpawnPlan, Step } from '../../agent/sys/plan.ts';
import { clockNs } from '../../agent/sys/processes.ts';
import { bind, connect, listen, socket, socketpair } from '../../agent/sys/sockets.ts';
import { utf8, viewOf } from '../../agent/sys/structs.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import type { Bootstrap } from './bootstrap.ts';
import { removeDeadCgroups } from './dead-cgroups.ts';
import { call, slot } from './jail.ts';
import { environment, nodeCacheVariables, programDirectory } from './location.ts';
import { startTicks } from './process-ref.ts';
import { sha256Hex } from './sha256.ts';

/** Version of the assign message. */
const ASSIGN_VERSION = 1;
/** containerd connects once per container and in bursts after its own restart. */
const BACKLOG = 128;
/** A configuration with a thousand mounts is smaller. */
const MAX_CONFIG_BYTES = 16 << 20;
/** In the state directory: the shim's process, for a `delete` that comes before the first record. */
export const SHIM_FILE = 'shim.json';
/** The lock of the sockets is held for some system calls: longer is a holder that stands still. */
export const LOCK_MS = 5_000;
const LOCK_STEP_MS = 5;
/** How long a shim may take to end whose container is deleted already. */
const EARLIER_SHIM_MS = 5_000;
const EARLIER_SHIM_STEP_MS = 50;
const NS_PER_MS = 1_000_000n;
const NEW_FILE = O.WRONLY | O.CREAT | O.TRUNC | O.NOFOLLOW;
const SHIM_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Which shim, and for whom. */
export interface ShimTarget {
  readonly runRoot: string;
  readonly libRoot: string;
  readonly namespace: string;
  readonly id: string;
  /** containerd's gRPC socket; part of the socket's name so that two containerds never meet. */
  readonly containerdAddress: string;
  readonly publishBinary: string;
  /** "command": the bundle is of the `tskata` command's own making; "containerd": its annotations may be a tenant's. */
  readonly caller: 'command' | 'containerd';
  /** Configuration file of the shim; empty: the host's own. */
  readonly configPath: string;
  readonly debug: boolean;
}

/** The socket of a sandbox. Short: a unix path has at most 107 bytes. */
export function shimSocketPath(target: ShimTarget, sandboxId: string): string {
  const key = `${target.containerdAddress}/${target.namespace}/${sandboxId}`;
  return `${target.runRoot}/s/${sha256Hex(utf8(key)).slice(0, 32)}.sock`;
}

/** Starts a shim for the bundle in the working directory, or finds the one of its pod. Returns "unix://...". */
export function startShim(sys: Sys, target: ShimTarget, bootstrap: Bootstrap): string {
  const bundle = readlink(sys, '/proc/self/cwd');
  const sandboxId = findSandboxOf(sys, bundle) ?? target.id;
  const socketPath = shimSocketPath(target, sandboxId);
  const address = `unix://${socketPath}`;
  if (sandboxId !== target.id) {
    if (!isServed(sys, socketPath)) {
      throw new TskataError(
        Code.NotFound,
        `start shim for ${target.id}: the shim of its sandbox ${sandboxId} is not running`,
      );
    }
  } else startNew(sys, { target, bundle, socketPath, bootstrap });
  writeFile(sys, 'address.tmp', address, NEW_FILE, 0o600);
  rename(sys, 'address.tmp', 'address');
  return address;
}

interface NewShim {
  readonly target: ShimTarget;
  readonly bundle: string;
  readonly socketPath: string;
  readonly bootstrap: Bootstrap;
}

function startNew(sys: Sys, { target, bundle, socketPath, bootstrap }: NewShim): void {
  const programs = programDirectory(sys);
  for (const name of ['node', 'shim.js']) {
    if (!exists(sys, `${programs}/${name}`)) {
      throw new TskataError(Code.NotFound, `start shim: ${programs}/${name} is missing - install tskata again`);
    }
  }
  removeDeadCgroups(sys, target.runRoot);
  const listener = openListenerAfterwards(sys, target, socketPath);
  try {
    const [ours, theirs] = socketpair(sys, SOCK.STREAM);
    const message = {
      version: ASSIGN_VERSION,
      namespace: target.namespace,
      id: target.id,
      bundle,
      socketPath,
      runRoot: target.runRoot,
      libRoot: target.libRoot,
      containerdAddress: target.containerdAddress,
      ttrpcAddress: environment(sys, 'TTRPC_ADDRESS') ?? bootstrap.ttrpcAddress,
      publishBinary: target.publishBinary,
      caller: target.caller,
      configPath: target.configPath === '' ? bootstrap.configPath : target.configPath,
      debug: target.debug,
    };
    writeAll(sys, ours, utf8(`${JSON.stringify(message)}\n`), 'the assign message');
    const state = `${target.runRoot}/${target.namespace}/${target.id}`;
    mkdirAll(sys, state, 0o700);
    // Of an earlier container of the same id: a `delete` would go by it.
    if (target.caller === 'containerd') sys.call(SYS.unlinkat, AT.FDCWD, `${state}/state.json`, 0);
    const log = open(sys, `${state}/shim.stderr`, O.WRONLY | O.CREAT | O.APPEND | O.NOFOLLOW, 0o600);
    const devNull = open(sys, '/dev/null', O.RDWR);
    const env = [SHIM_PATH, ...nodeCacheVariables(sys, target.libRoot)];
    const pid = spawnDetached(sys, shimPlan(programs, env, [devNull, log, log, listener, theirs]));
    writeFile(sys, `${state}/${SHIM_FILE}`, JSON.stringify({ pid, startTicks: startTicks(sys, pid) }), NEW_FILE, 0o600);
  } catch (error) {
    removeSocket(sys, socketPath);
    throw error;
  }
}

/** The steps between clone and exec of a shim: its own session, no directory held, exactly five descriptors. */
export function shimPlan(programs: string, env: readonly string[], fds: readonly number[]): SpawnPlan {
  const node = `${programs}/node`;
  const steps: Step[] = [
    call('start a session', SYS.setsid, []),
    call('leave the bundle', SYS.chdir, ['/']),
    call('set the umask', SYS.umask, [0o022]),
    { op: 'stdio', fds: [slot(0), slot(1), slot(2), slot(3), slot(4)], label: 'set the descriptors' },
    {
      op: 'exec',
      path: node,
      argv: ['containerd-shim-tskata-v2', `${programs}/shim.js`],
      env,
      searchPath: [],
      label: `execute ${node}`,
    },
  ];
  return { cloneFlags: 0, slots: Object.fromEntries(fds.entries()), steps };
}

/** Starts a child that outlives us, and waits for its exec. Returns its number. */
function spawnDetached(sys: Sys, plan: SpawnPlan): number {
  const child = sys.spawn(plan);
  if (typeof child === 'number') throw new SysError('start', 'the shim', -child);
  const packet = new Uint8Array(16);
  const poll = new Uint8Array(8);
  viewOf(poll).setInt32(0, child.statusFd, true);
  viewOf(poll).setInt16(4, 1, true);
  check(sys.call(SYS.poll, poll, 1, 10_000), 'wait for', 'the shim');
  const count = sys.read(child.statusFd, packet, 0, packet.length);
  if (count < packet.length) return child.pid;
  const view = viewOf(packet);
  throw new SysError('start shim', plan.steps[view.getInt32(4, true)]?.label ?? '', view.getInt32(8, true));
}

/**
 * As `openListener`, when an earlier shim of the id has ended: containerd waits 3 s for one to shut down, which on a busy
 * host takes longer, and then lets its client begin again.
 */
function openListenerAfterwards(sys: Sys, target: ShimTarget, path: string): number {
  const endNs = clockNs(sys, CLOCK.MONOTONIC) + BigInt(EARLIER_SHIM_MS) * NS_PER_MS;
  for (;;) {
    try {
      return openListener(sys, target, path);
    } catch (error) {
      const served = error instanceof TskataError && error.code === Code.AlreadyExists;
      if (!served || clockNs(sys, CLOCK.MONOTONIC) >= endNs) throw error;
    }
    sys.call(SYS.poll, new Uint8Array(8), 0, EARLIER_SHIM_STEP_MS);
  }
}

/** The listening socket. Only one of two starts of one id can win. */
function openListener(sys: Sys, target: ShimTarget, path: string): number {
  return withSocketLock(sys, target.runRoot, LOCK_MS, () => {
    if (isServed(sys, path)) {
      throw new TskataError(
        Code.AlreadyExists,
        `start shim: a shim of ${target.namespace}/${target.id} is running already`,
      );
    }
    removeSocket(sys, path);
    const fd = socket(sys, AF.UNIX, SOCK.STREAM);
    bind(sys, fd, { family: 'unix', path }, path);
    check(sys.call(SYS.fchmodat, AT.FDCWD, path, 0o600), 'change mode of', path);
    listen(sys, fd, BACKLOG);
    return fd;
  });
}

/**
 * Whoever looks at a socket and then binds or removes it does so alone: between bind and listen one looks dead. Throws
 * DeadlineExceeded when another holds the lock for longer than `waitMs`.
 */
export function withSocketLock<T>(sys: Sys, runRoot: string, waitMs: number, action: () => T): T {
  const directory = `${runRoot}/s`;
  mkdirAll(sys, directory, 0o700);
  const lock = open(sys, `${directory}/.lock`, O.RDWR | O.CREAT | O.NOFOLLOW, 0o600);
  try {
    const endNs = clockNs(sys, CLOCK.MONOTONIC) + BigInt(waitMs) * NS_PER_MS;
    for (;;) {
      const result = sys.call(SYS.flock, lock, LOCK.EX | LOCK.NB);
      if (result !== -E.EAGAIN) {
        check(result, 'lock', directory);
        return action();
      }
      if (clockNs(sys, CLOCK.MONOTONIC) >= endNs) {
        const fact = `another process has held it for ${waitMs} ms; see /proc/locks for which, and end it`;
        throw new TskataError(Code.DeadlineExceeded, `lock ${directory}: ${fact}`);
      }
      sys.call(SYS.poll, new Uint8Array(8), 0, LOCK_STEP_MS);
    }
  } finally {
    close(sys, lock);
  }
}

/** Removes a socket's name. One that is gone is fine. */
export function removeSocket(sys: Sys, path: string): void {
  const result = sys.call(SYS.unlinkat, AT.FDCWD, path, 0);
  if (result < 0 && result !== -E.ENOENT) throw new SysError('remove', path, -result);
}

/** Directory of the sockets between the machine's own programs, beside the shim's socket. */
export function machineSockets(socketPath: string): string {
  return socketPath.replace(/(\.sock)?$/, '.d');
}

/** Whether somebody listens. A full queue (EAGAIN) is somebody. */
export function isServed(sys: Sys, path: string): boolean {
  const fd = socket(sys, AF.UNIX, SOCK.STREAM | SOCK.NONBLOCK);
  const result = connect(sys, fd, { family: 'unix', path });
  close(sys, fd);
  return result === 0 || result === -E.EAGAIN;
}

/** Id of the pod's sandbox when the bundle is a further container of it: CRI's annotations, containerd's and cri-o's. */
function findSandboxOf(sys: Sys, bundle: string): string | undefined {
  const path = `${bundle}/config.json`;
  if (!exists(sys, path)) return undefined;
  const config: unknown = JSON.parse(readFile(sys, path, MAX_CONFIG_BYTES));
  const annotations = (config as { annotations?: Record<string, unknown> } | null)?.annotations ?? {};
  for (const [type, id] of [
    ['io.kubernetes.cri.container-type', 'io.kubernetes.cri.sandbox-id'],
    ['io.kubernetes.cri-o.ContainerType', 'io.kubernetes.cri-o.SandboxID'],
  ] as const) {
    const sandbox = annotations[id];
    if (annotations[type] === 'container' && typeof sandbox === 'string') return sandbox;
  }
  return undefined;
}
