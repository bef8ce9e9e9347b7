/**
 * Owns the one directory of a sandbox that its virtio-fs share shows: every host file or directory, and every overlay,
 * is mounted on a numbered entry of it, in the keeper's mount namespace, which ends with the keeper. Refuses to know
 * what entries are for.
 *
 * Names in the tree are ours alone (`<n>/d` or `<n>/f`), so no mount or unmount on the host ever follows a symbolic
 * link that a guest or an image made. Containers that ask for the same thing get the same entry: to the guest, what has
 * two names through two mounts would be two files, whose sockets, locks and mapped memory never meet.
 */
import { mkdir, rmdir, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { MountIdMap } from './id-map.ts';
import type { ShareRequest } from './plan.ts';

/** Mounts in the keeper's mount namespace. */
export interface HostMounts {
  mount(request: {
    readonly type: string;
    readonly source: string;
    readonly target: string;
    readonly options: readonly string[];
    /** st_dev and inode number that the source must have; absent: any. */
    readonly device?: bigint;
    readonly inode?: bigint;
    /** How the owners of a bind appear. */
    readonly idMap?: MountIdMap;
  }): Promise<void>;
  /** Never follows a symbolic link. */
  unmount(target: string): Promise<void>;
}

/** A mounted file or directory. */
export interface ShareEntry {
  /** Path of the entry's own directory in the share: "3". */
  readonly directory: string;
  /** Name in it: "d" for a directory, "f" for a file. */
  readonly leaf: 'd' | 'f';
}

/** Tag of the sandbox's share. */
export const SHARE_TAG = 'tskata';

interface Held {
  readonly entry: Promise<ShareEntry>;
  readonly key: string | undefined;
  users: number;
}

/** Entries below one root directory. */
export class ShareTree {
  /** Host path that the virtiofsd serves. */
  readonly root: string;
  readonly #mounts: HostMounts;
  #prepared: Promise<void> | undefined;
  #next = 1;
  readonly #byKey = new Map<string, Held>();
  readonly #byDirectory = new Map<string, Held>();

  constructor(root: string, mounts: HostMounts) {
    this.root = root;
    this.#mounts = mounts;
  }

  /** Makes the root, read-only for whoever sees it through the keeper's namespace. Idempotent. */
  prepare(): Promise<void> {
    this.#prepared ??= this.#prepare();
    return this.#prepared;
  }

  /** The entry of what is asked for, mounted when there is none yet. Errors name it; nothing stays behind. */
  async add(request: ShareRequest): Promise<ShareEntry> {
    await this.prepare();
    const key = keyOf(request);
    const held = (key === undefined ? undefined : this.#byKey.get(key)) ?? this.#hold(request, key);
    held.users += 1;
    return await held.entry;
  }

  /** Undoes one `add`. Resolves with the name that has vanished from the share, if it was the last. */
  async remove(entry: ShareEntry): Promise<string | undefined> {
    const held = this.#byDirectory.get(entry.directory);
    if (held === undefined) return undefined;
    held.users -= 1;
    if (held.users > 0) return undefined;
    this.#forget(held, entry.directory);
    await this.#mounts.unmount(join(this.root, entry.directory, entry.leaf));
    await this.#removeEntry(entry);
    return entry.directory;
  }

  #hold(request: ShareRequest, key: string | undefined): Held {
    const directory = String(this.#next++);
    const held: Held = { entry: this.#mount(request, directory), key, users: 0 };
    // Whoever asked gets the error; a later one must not get it again.
    held.entry.catch(() => this.#forget(held, directory));
    if (key !== undefined) this.#byKey.set(key, held);
    this.#byDirectory.set(directory, held);
    return held;
  }

  #forget(held: Held, directory: string): void {
    this.#byDirectory.delete(directory);
    if (held.key !== undefined) this.#byKey.delete(held.key);
  }

  async #mount(request: ShareRequest, directory: string): Promise<ShareEntry> {
    const leaf = request.kind === 'bind' && request.found.kind === 'file' ? 'f' : 'd';
    const entry: ShareEntry = { directory, leaf };
    const target = join(this.root, directory, leaf);
    await mkdir(join(this.root, directory), { mode: 0o755 });
    try {
      if (leaf === 'd') await mkdir(target, { mode: 0o755 });
      else await writeFile(target, '', { flag: 'wx', mode: 0o644 });
      await this.#mounts.mount({ target, ...mountOf(request) });
    } catch (error) {
      await this.#removeEntry(entry);
      throw error;
    }
    return entry;
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

/** Overlays are one container's own. */
function keyOf(request: ShareRequest): string | undefined {
  if (request.kind === 'overlay') return undefined;
  const { found, readOnly, recursive, followsHost, idMap } = request;
  return [found.identity, readOnly, recursive, followsHost, JSON.stringify(idMap)].join(' ');
}

/** Devices of the host are never opened through a share. */
function mountOf(request: ShareRequest): Omit<Parameters<HostMounts['mount']>[0], 'target'> {
  if (request.kind === 'overlay') {
    return { type: 'overlay', source: 'overlay', options: [...request.options, 'nodev'] };
  }
  const { source, found, readOnly, recursive, followsHost, idMap } = request;
  const options = [
    recursive ? 'rbind' : 'bind',
    followsHost ? 'rslave' : 'rprivate',
    ...(readOnly ? ['ro'] : []),
    'nodev',
  ];
  const mapped = idMap === undefined ? {} : { idMap };
  return { type: 'bind', source, options, device: found.device, inode: found.inode, ...mapped };
}
