/**
 * Owns the one directory of a sandbox that its virtio-fs share shows: every host file or directory is bound to a
 * numbered entry of it, in the keeper's mount namespace, which ends with the keeper. Refuses to know what entries are for.
 *
 * Names in the tree are ours alone (`<n>/d` or `<n>/f`), so no mount or unmount on the host ever follows a symbolic
 * link that a guest or an image made.
 */
import { mkdir, rmdir, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { ShareRequest } from './plan.ts';

/** Mounts in the keeper's mount namespace. */
export interface HostMounts {
  mount(request: {
    readonly type: string;
    readonly source: string;
    readonly target: string;
    readonly options: readonly string[];
  }): Promise<void>;
  /** Never follows a symbolic link. */
  unmount(target: string): Promise<void>;
}

/** A bound file or directory. */
export interface ShareEntry {
  /** Path of the entry's own directory in the share: "3". */
  readonly directory: string;
  /** Name in it: "d" for a directory, "f" for a file. */
  readonly leaf: 'd' | 'f';
}

/** Tag of the sandbox's share. */
export const SHARE_TAG = 'tskata';

/** Entries below one root directory. */
export class ShareTree {
  /** Host path that the virtiofsd serves. */
  readonly root: string;
  readonly #mounts: HostMounts;
  #prepared: Promise<void> | undefined;
  #next = 1;

  constructor(root: string, mounts: HostMounts) {
    this.root = root;
    this.#mounts = mounts;
  }

  /** Makes the root, read-only for whoever sees it through the keeper's namespace. Idempotent. */
  prepare(): Promise<void> {
    this.#prepared ??= this.#prepare();
    return this.#prepared;
  }

  /** Binds a source. Errors name it; nothing stays behind. */
  async add(request: ShareRequest): Promise<ShareEntry> {
    await this.prepare();
    const leaf = await kindOf(request.source);
    const entry: ShareEntry = { directory: String(this.#next++), leaf };
    const target = join(this.root, entry.directory, leaf);
    await mkdir(join(this.root, entry.directory), { mode: 0o755 });
    try {
      if (leaf === 'd') await mkdir(target, { mode: 0o755 });
      else await writeFile(target, '', { flag: 'wx', mode: 0o644 });
      await this.#mounts.mount({ type: 'bind', source: request.source, target, options: bindOptions(request) });
    } catch (error) {
      await this.#removeEntry(entry);
      throw error;
    }
    return entry;
  }

  /** Undoes `add`. */
  async remove(entry: ShareEntry): Promise<void> {
    await this.#mounts.unmount(join(this.root, entry.directory, entry.leaf));
    await this.#removeEntry(entry);
  }

  /**
   * In the shim's own mount namespace an entry is an empty directory or file. Never a recursive removal: should the
   * mount be visible here after all, rmdir and unlink fail with EBUSY and the source stays whole.
   */
  async #removeEntry(entry: ShareEntry): Promise<void> {
    const directory = join(this.root, entry.directory);
    const target = join(directory, entry.leaf);
    try {
      await (entry.leaf === 'd' ? rmdir(target) : unlink(target));
      await rmdir(directory);
    } catch {
      // What is left is an empty name in a directory that goes with the sandbox.
    }
  }

  async #prepare(): Promise<void> {
    await mkdir(this.root, { recursive: true, mode: 0o755 });
    // Bound over itself so that the guest cannot make, rename or replace entries; the shim still can, in its namespace.
    await this.#mounts.mount({
      type: 'bind',
      source: this.root,
      target: this.root,
      options: ['bind', 'ro', 'nosuid', 'nodev'],
    });
  }
}

function bindOptions(request: ShareRequest): string[] {
  return [
    request.recursive ? 'rbind' : 'bind',
    request.followsHost ? 'rslave' : 'rprivate',
    ...(request.readOnly ? ['ro'] : []),
    // Devices of the host are never opened through a share.
    'nodev',
  ];
}

async function kindOf(source: string): Promise<'d' | 'f'> {
  let info: Awaited<ReturnType<typeof stat>>;
  try {
    info = await stat(source);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const fact = code === 'ENOENT' ? 'there is no such file or directory - create it first' : (code ?? String(error));
    throw new TskataError(Code.NotFound, `share ${source} with the guest - ${fact}`);
  }
  if (info.isDirectory()) return 'd';
  if (info.isFile()) return 'f';
  const kind = info.isSocket() ? 'a socket' : info.isFIFO() ? 'a FIFO' : 'a device';
  throw new TskataError(
    Code.InvalidArgument,
    `share ${source} with the guest - it is ${kind} - only files and directories can be shared`,
  );
}
