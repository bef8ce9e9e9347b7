/**
 * Mode `sandbox`: the keeper of one sandbox. It serves its shim on descriptor 3 and holds everything that the shim
 * started. When that connection ends, whatever the reason, it kills its children, removes what would stay and exits.
 * Its mounts are in a mount namespace of its own and end with it; its children carry a parent-death signal, so that
 * they end with it even when it is killed.
 *
 *     tskata-helper sandbox --run-root /run/tskata --handles 6 qmp=4 control=5 ...
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { Helper } from '../../agent/protocol/generated/helper.ts';
import { bind } from '../../agent/protocol/service.ts';
import { ChannelPipe } from '../../agent/protocol/ttrpc/pipe.ts';
import { TtrpcServer } from '../../agent/protocol/ttrpc/server.ts';
import { fcntl, mkdirAll, open } from '../../agent/sys/calls.ts';
import { check } from '../../agent/sys/errors.ts';
import { FdChannel } from '../../agent/sys/fd-channel.ts';
import { CLONE, EPOLL, F, MS, O, SIG } from '../../agent/sys/linux.ts';
import { mount, setPropagation } from '../../agent/sys/mounts.ts';
import { setParentDeathSignal, signalFd, unshare } from '../../agent/sys/processes.ts';
import type { Loop, Sys } from '../../agent/sys/sys.ts';
import { SYS } from '../../agent/sys/syscalls.ts';
import type { MountNamespaces } from './host-mounts.ts';
import { SandboxService } from './service.ts';

/** The connection to the shim. */
const SHIM_FD = 3;
const FD_CLOEXEC = 1;
const OWN_MOUNTS = '/proc/self/ns/mnt';

/** A Spawn with a hundred libraries has 10 kB. */
const MAX_MESSAGE_BYTES = 256 * 1024;

/** After this long the helper exits even though a child has not been reaped: the kernel's parent-death signal is sent. */
const END_TIMEOUT_MS = 2_000;

/** Options of the mode. */
interface SandboxOptions {
  readonly runRoot: string;
  readonly inherited: ReadonlyMap<string, number>;
  /** Descriptor of the shim's channel for handles; without it no socket can be given to the shim. */
  readonly handles?: number;
}

/** Reads the arguments after the mode's name. Throws InvalidArgument. */
export function parseSandboxOptions(args: readonly string[]): SandboxOptions {
  const inherited = new Map<string, number>();
  let runRoot: string | undefined;
  let handles: number | undefined;
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? '';
    const match = /^([a-z][a-z0-9-]*)=(\d+)$/.exec(arg);
    if (arg === '--run-root') {
      index += 1;
      runRoot = args[index];
    } else if (arg === '--handles') {
      index += 1;
      handles = Number(args[index]);
    } else if (match?.[1] !== undefined) inherited.set(match[1], Number(match[2]));
    else throw new TskataError(Code.InvalidArgument, `sandbox: unknown argument ${JSON.stringify(arg)}`);
  }
  if (runRoot === undefined || !runRoot.startsWith('/')) {
    throw new TskataError(Code.InvalidArgument, 'sandbox: --run-root must be an absolute path');
  }
  if (handles !== undefined && !Number.isInteger(handles)) {
    throw new TskataError(Code.InvalidArgument, 'sandbox: --handles must be a descriptor');
  }
  return { runRoot, inherited, ...(handles === undefined ? {} : { handles }) };
}

/** Sets the helper up on the loop. The caller runs the loop. */
export function startSandbox(sys: Sys, loop: Loop, args: readonly string[], log: (message: string) => void): void {
  const options = parseSandboxOptions(args);
  setParentDeathSignal(sys, SIG.TERM);
  const signals = signalFd(sys, [SIG.TERM, SIG.INT, SIG.HUP]);
  fcntl(sys, SHIM_FD, F.SETFD, FD_CLOEXEC);
  const { handles } = options;
  if (handles !== undefined) fcntl(sys, handles, F.SETFD, FD_CLOEXEC);
  const { workspace, mountNamespaces } = openWorkspace(sys, options.runRoot);
  const pid = check(sys.call(SYS.getpid), 'getpid');
  const service = new SandboxService(sys, loop, {
    inherited: options.inherited,
    workspace,
    runRoot: options.runRoot,
    pid,
    shimPid: check(sys.call(SYS.getppid), 'getppid'),
    handles,
    mountNamespaces,
  });

  let ending = false;
  const end = (reason: string): void => {
    if (ending) return;
    ending = true;
    log(`ending: ${reason}`);
    loop.timer(END_TIMEOUT_MS, () => {
      service.leaveGroup();
      sys.exit(1);
    });
    service.end().then(
      () => sys.exit(0),
      (error: unknown) => {
        log(TskataError.from(error).message);
        sys.exit(1);
      },
    );
  };
  const pipe = new ChannelPipe(new FdChannel(sys, loop, SHIM_FD, { name: 'shim' }), MAX_MESSAGE_BYTES);
  const server = new TtrpcServer(pipe, [bind(Helper, service.handlers())], loop);
  server.onEnd = () => end('the shim is gone');
  loop.watch(signals, EPOLL.IN, () => end('got a signal'));
}

/** A mount namespace that gets the host's mounts and unmounts but shows it nothing, and a tmpfs that only we see. */
function openWorkspace(sys: Sys, runRoot: string): { workspace: string; mountNamespaces: MountNamespaces } {
  const workspace = `${runRoot}/.jail`;
  mkdirAll(sys, workspace, 0o700);
  const host = open(sys, OWN_MOUNTS, O.RDONLY);
  unshare(sys, CLONE.NEWNS);
  setPropagation(sys, '/', MS.SLAVE);
  mount(sys, 'tmpfs', workspace, 'tmpfs', MS.NOSUID | MS.NODEV | MS.NOEXEC, 'mode=0700,size=1m');
  return { workspace, mountNamespaces: { host, own: open(sys, OWN_MOUNTS, O.RDONLY) } };
}
