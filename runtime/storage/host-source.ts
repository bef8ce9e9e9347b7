/**
 * Owns looking at the host paths that a container wants: what each is, on which mount it lies, how large a tmpfs is.
 * One look for one container, before anything is made; the plan is computed from what was seen, and what is bound later
 * must be what was seen (device and inode). Decides nothing.
 */
import { constants, readFileSync, readlinkSync } from 'node:fs';
import { open, statfs } from 'node:fs/promises';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { within } from '../host/step.ts';
import { type MountEntry, parseMountInfo } from './mount-info.ts';

/** open(2): a descriptor that stands for the file and opens nothing; Node has no name for it. */
const O_PATH = 0o10000000;

/** A disk that has to start turning answers before. */
const LOOK_MS = 10_000;

/** What a path leads to. */
type SourceKind = 'directory' | 'file' | 'socket' | 'FIFO' | 'device';

/** A host path as it was found. */
export interface HostSource {
  readonly kind: SourceKind;
  /** Without symbolic links. */
  readonly path: string;
  /** st_dev and inode number. */
  readonly device: bigint;
  readonly inode: bigint;
  /** Permission bits, owner and group. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** The mount on which it lies. */
  readonly mount: MountEntry;
  /** Room of the whole file system, used or not. */
  readonly sizeBytes: bigint;
  /** The same for two looks at the same place with the same mounts below it. */
  readonly identity: string;
}

/** Sources by the path that the configuration says. */
export type HostSources = ReadonlyMap<string, HostSource>;

/** A path to look at. */
export interface SourcePath {
  readonly path: string;
  /** Where the configuration names it, for errors. */
  readonly where: string;
  /** A missing one is no error. */
  readonly optional: boolean;
}

/**
 * Looks at all paths. Rejects with NotFound and the place in the configuration, and with DeadlineExceeded for a path
 * whose file system (of a server that is gone) does not answer: nothing else of the shim may wait for that.
 */
export async function inspectSources(paths: readonly SourcePath[], timeoutMs = LOOK_MS): Promise<HostSources> {
  const found = new Map<string, HostSource>();
  if (paths.length === 0) return found;
  const mounts = parseMountInfo(readFileSync('/proc/self/mountinfo', 'utf8'));
  for (const { path, where, optional } of paths) {
    try {
      if (found.has(path)) continue;
      const source = await within(timeoutMs, inspect(path, mounts), undefined);
      if (source === undefined) {
        const fact = `its file system has not answered for ${timeoutMs / 1000} s - look at who serves it`;
        throw new TskataError(Code.DeadlineExceeded, `${where}: share ${path} with the guest - ${fact}`);
      }
      found.set(path, source);
    } catch (error) {
      if (error instanceof TskataError) throw error;
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      if (optional && (code === 'ENOENT' || code === 'ENOTDIR')) continue;
      const fact = code === 'ENOENT' ? 'there is no such file or directory - create it first' : code;
      throw new TskataError(Code.NotFound, `${where}: share ${path} with the guest - ${fact}`);
    }
  }
  return found;
}

async function inspect(path: string, mounts: ReadonlyMap<number, MountEntry>): Promise<HostSource> {
  const handle = await open(path, O_PATH | constants.O_NOCTTY);
  const { fd } = handle;
  try {
    const { dev: device, ino: inode, mode, uid, gid } = await handle.stat({ bigint: true });
    const real = readlinkSync(`/proc/self/fd/${fd}`);
    const mount = mounts.get(mountId(fd));
    // A mount that came after the table was read.
    if (mount === undefined) throw new Error('its mount has just changed - try again');
    const { blocks, bsize } = await statfs(`/proc/self/fd/${fd}`, { bigint: true });
    const below = [...mounts.values()].filter(({ point }) => point.startsWith(`${real}/`)).map(({ id }) => id);
    return {
      kind: kindOf(Number(mode)),
      path: real,
      device,
      inode,
      mode: Number(mode) & 0o7777,
      uid: Number(uid),
      gid: Number(gid),
      mount,
      sizeBytes: blocks * bsize,
      identity: [device, inode, mount.id, ...below].join(':'),
    };
  } finally {
    await handle.close();
  }
}

function mountId(fd: number): number {
  return Number(/^mnt_id:\s*([0-9]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1]);
}

function kindOf(mode: number): SourceKind {
  switch (mode & constants.S_IFMT) {
    case constants.S_IFDIR:
      return 'directory';
    case constants.S_IFREG:
      return 'file';
    case constants.S_IFSOCK:
      return 'socket';
    case constants.S_IFIFO:
      return 'FIFO';
    default:
      return 'device';
  }
}
