/**
 * The virtiofsd processes of one machine: one for each share, confined, with the shared directory as all that they can
 * see. It knows both implementations' arguments; plugging the device is not its business.
 */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { ChildBind, ChildSpec, ProcessHost } from '../vm/process-host.ts';
import type { ShareConfig } from '../vm/vm.ts';

/** The two programs of the name: QEMU's own in C (until QEMU 7.2) and its successor in Rust. */
export interface VirtiofsdProgram {
  readonly kind: 'c' | 'rust';
  readonly executable: string;
  /** Shared libraries and the loader, to be bound into its root. */
  readonly binds: readonly ChildBind[];
}

/** Where the shared directory is in a daemon's root. */
const JAIL_SHARE = '/share';
/** The socket is the daemon's first descriptor. */
const SOCKET_FD = 3;
/**
 * Files that a guest can know of through one share: the daemon holds one descriptor for each name in the guest's cache,
 * which forgets only when memory runs short. A large image has some hundred thousand files; above the bound a new name
 * is EMFILE. Below the kernel's own bound for one process (fs.nr_open, 1,048,576).
 */
const MAX_OPEN_FILES = 1_000_000;

/**
 * What a daemon needs to act as every user of the guest: owner and mode changes, and entry to its own chroot. Neither
 * making device nodes nor mounting nor the network is among it.
 */
const CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SYS_CHROOT',
  'CAP_SETPCAP',
];

/** Arguments of either program, serving JAIL_SHARE on the inherited listening socket. */
function virtiofsdArgs(kind: VirtiofsdProgram['kind']): string[] {
  // cache=auto: a file may be mapped shared, and an open sees what the other side has written. Locks stay in the guest:
  // a lock that waits on the host would hold the daemon's only thread.
  if (kind === 'rust') {
    return [
      `--fd=${SOCKET_FD}`,
      `--shared-dir=${JAIL_SHARE}`,
      '--cache=auto',
      '--sandbox=chroot',
      '--seccomp=kill',
      '--xattr',
      '--announce-submounts',
      '--log-level=warn',
      '--inode-file-handles=never',
      '--modcaps=-mknod',
      `--rlimit-nofile=${MAX_OPEN_FILES}`,
    ];
  }
  return [
    '-f',
    `--fd=${SOCKET_FD}`,
    `--rlimit-nofile=${MAX_OPEN_FILES}`,
    '-o',
    `source=${JAIL_SHARE},cache=auto,sandbox=chroot,xattr,announce_submounts,log_level=warn,no_posix_lock,no_flock,killpriv_v2,modcaps=-mknod`,
  ];
}

/** In the status of a process that a signal ended. */
const SIGNAL_BASE = 128;

/** The daemon of one share as a program to start. */
export function virtiofsdSpec(program: VirtiofsdProgram, index: number, share: ShareConfig, socket: string): ChildSpec {
  return {
    name: `virtiofsd-${index}`,
    executable: program.executable,
    args: virtiofsdArgs(program.kind),
    descriptors: [{ kind: 'listen', path: socket }],
    jail: {
      binds: [
        ...program.binds,
        { source: share.directory, target: JAIL_SHARE, readOnly: share.readOnly, recursive: true },
      ],
      proc: true,
      network: 'none',
      newPidNamespace: true,
      keepCapabilities: CAPABILITIES,
      additionalGids: [],
      maxOpenFiles: MAX_OPEN_FILES,
    },
  };
}

/** Starts daemons in one machine's process host. */
export class ShareDaemons {
  /** Shares started so far. */
  count = 0;
  /** Called with a sentence when a daemon has ended, whoever's doing it was. */
  onEnd: (message: string) => void = () => {};
  readonly #host: ProcessHost;
  readonly #program: VirtiofsdProgram | undefined;
  readonly #socketDirectory: string;

  constructor(host: ProcessHost, program: VirtiofsdProgram | undefined, socketDirectory: string) {
    this.#host = host;
    this.#program = program;
    this.#socketDirectory = socketDirectory;
  }

  /** Starts the daemon of the n-th share. Its socket takes connections from the first moment on. */
  async start(index: number, share: ShareConfig): Promise<void> {
    const program = this.#program;
    if (program === undefined) {
      throw new TskataError(
        Code.FailedPrecondition,
        `share ${share.directory}: there is no virtiofsd on this host; install it`,
      );
    }
    const found = await stat(share.directory).catch(() => undefined);
    if (found === undefined) throw new TskataError(Code.NotFound, `share ${share.directory}: no such directory`);
    if (!found.isDirectory()) {
      throw new TskataError(Code.InvalidArgument, `share ${share.directory}: not a directory`);
    }
    const socket = path.join(this.#socketDirectory, `share${index}.sock`);
    const daemon = await this.#host.spawn(virtiofsdSpec(program, index, share, socket));
    this.count += 1;
    void daemon.exited.then((status) => {
      // -1: the process host has ended, and everything with it.
      if (status >= 0) this.onEnd(`the virtiofsd of ${share.directory} ended ${howOf(status)}`);
    });
  }
}

function howOf(status: number): string {
  return status > SIGNAL_BASE ? `by signal ${status - SIGNAL_BASE}` : `with status ${status}`;
}
