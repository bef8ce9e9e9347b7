/**
 * Owns the step from a layer's entries to its tree, seen on top of the layers below it (the view). The view decides
 * what a layer itself does not say: the attributes of parents that have no entry, symlinks of lower layers on the way
 * to an entry, the content of a hard link to a lower file. Each such decision is recorded as a fact, so that an image of
 * the layer is shared exactly where the same facts held.
 */
import { MAX_LINK_HOPS, MAX_PATH_BYTES } from '../limits.ts';
import type { LayerEntry } from './scan.ts';
import { layerError } from './scan.ts';
import { type Attributes, DEFAULT_DIRECTORY, Directory, type Inode, Leaf, type Node, Whiteout } from './tree.ts';

const WHITEOUT_PREFIX = '.wh.';
const OPAQUE_MARK = '.wh..wh..opq';
/** Book-keeping of aufs, which other engines leave out too. */
const AUFS_PREFIX = '.wh..wh.';

/** A layer as a tree. */
export interface BuiltLayer {
  readonly root: Directory;
  /** What was taken from lower layers, in the order of the entries; equal facts give equal trees. */
  readonly facts: readonly string[];
}

/** What is needed to name things: the layer's digest, its number in the image, and the diff ids of all layers. */
export interface LayerNames {
  readonly layer: string;
  readonly source: number;
  readonly diffIds: readonly string[];
}

/** Builds the tree. `view` is everything below, merged; undefined for the lowest layer. Throws naming layer and entry. */
export function buildLayer(entries: readonly LayerEntry[], view: Directory | undefined, names: LayerNames): BuiltLayer {
  const builder = new Builder(view, names);
  for (const entry of entries) builder.add(entry);
  return { root: builder.root, facts: builder.facts };
}

interface Place {
  readonly directory: Directory;
  /** The same directory in the layers below, when they have it and it is not hidden. */
  readonly view: Directory | undefined;
  readonly path: string;
}

class Builder {
  readonly root: Directory;
  readonly facts: string[] = [];
  readonly #view: Directory | undefined;
  readonly #names: LayerNames;

  constructor(view: Directory | undefined, names: LayerNames) {
    this.#view = view;
    this.#names = names;
    this.root = this.#implicit('', view);
  }

  add(entry: LayerEntry): void {
    const name = entry.names.at(-1);
    if (name === undefined) {
      if (entry.kind !== 'directory') throw this.#error(entry.names, 'it would replace the root directory');
      this.root.attributes = attributesOf(entry);
      this.root.implicit = false;
      return;
    }
    const parent = this.#parent(entry.names);
    if (name.startsWith(WHITEOUT_PREFIX)) {
      this.#whiteout(parent, name, entry);
      return;
    }
    if (entry.kind === 'directory') this.#directory(parent, name, entry);
    else if (entry.kind === 'link') parent.directory.children.set(name, this.#linked(entry));
    // The kernel's own form of a whiteout, as layers made from an upper directory by hand have it.
    else if (entry.kind === 'char' && entry.major === 0 && entry.minor === 0)
      parent.directory.children.set(name, new Whiteout());
    else parent.directory.children.set(name, new Leaf(inodeOf(entry, this.#names.source)));
  }

  #directory(parent: Place, name: string, entry: LayerEntry): void {
    const existing = parent.directory.children.get(name);
    if (existing instanceof Directory) {
      existing.attributes = attributesOf(entry);
      existing.implicit = false;
      return;
    }
    const directory = new Directory(attributesOf(entry), false);
    // A file or a whiteout of the same layer had hidden what is below.
    directory.opaque = existing !== undefined;
    parent.directory.children.set(name, directory);
  }

  /** A whiteout hides only lower layers: what this layer itself has at the name stays, whichever came first. */
  #whiteout(parent: Place, name: string, entry: LayerEntry): void {
    if (name === OPAQUE_MARK) {
      parent.directory.opaque = true;
      return;
    }
    if (name.startsWith(AUFS_PREFIX)) return;
    const hidden = name.slice(WHITEOUT_PREFIX.length);
    if (hidden === '' || hidden === '.' || hidden === '..')
      throw this.#error(entry.names, 'the whiteout names nothing');
    const existing = parent.directory.children.get(hidden);
    if (existing instanceof Directory) existing.opaque = true;
    else if (existing === undefined) parent.directory.children.set(hidden, new Whiteout());
  }

  #linked(entry: LayerEntry): Leaf {
    const name = entry.linkNames.at(-1);
    if (name === undefined) throw this.#error(entry.names, 'the hard link points at a directory');
    const parent = this.#parent(entry.linkNames, entry.names);
    const own = parent.directory.children.get(name);
    if (own instanceof Leaf) return own;
    if (own instanceof Directory) throw this.#error(entry.names, 'the hard link points at a directory');
    const lower = own === undefined ? parent.view?.children.get(name) : undefined;
    if (!(lower instanceof Leaf))
      throw this.#error(entry.names, `the hard link's target '${entry.linkNames.join('/')}' does not exist`);
    // As link(2) on an overlay does it: the lower file is copied up, then both names are one inode.
    parent.directory.children.set(name, lower);
    this.#fact('copy', `${parent.path}/${name}`, this.#portable(lower.inode));
    return lower;
  }

  /** The directory that holds the last of the names, made where it is missing. */
  #parent(names: readonly string[], entryNames = names): Place {
    const stack: Place[] = [{ directory: this.root, view: this.root.opaque ? undefined : this.#view, path: '' }];
    const todo = names.slice(0, -1);
    for (let hops = 0; ; ) {
      const top = stack.at(-1) as Place;
      const name = todo.shift();
      if (name === undefined) return top;
      if (name === '' || name === '.') continue;
      if (name === '..') {
        // Only the target of a lower symlink brings it; above the root is the root.
        if (stack.length > 1) stack.pop();
        continue;
      }
      const lower = top.view?.children.get(name);
      if (lower instanceof Leaf && lower.inode.kind === 'symlink' && !top.directory.children.has(name)) {
        if (++hops > MAX_LINK_HOPS) throw this.#error(entryNames, `more than ${MAX_LINK_HOPS} symlinks are on its way`);
        this.#fact('through', `${top.path}/${name}`, lower.inode.target);
        if (lower.inode.target.startsWith('/')) stack.length = 1;
        todo.unshift(...lower.inode.target.split('/'));
        continue;
      }
      stack.push(this.#enter(top, name, lower, entryNames));
    }
  }

  #enter(top: Place, name: string, lower: Node | undefined, entryNames: readonly string[]): Place {
    const path = `${top.path}/${name}`;
    if (path.length > MAX_PATH_BYTES)
      throw this.#error(entryNames, `its path through symlinks is longer than ${MAX_PATH_BYTES} bytes`);
    const own = top.directory.children.get(name);
    const lowerDirectory = lower instanceof Directory ? lower : undefined;
    if (own instanceof Directory) return { directory: own, view: own.opaque ? undefined : lowerDirectory, path };
    if (own instanceof Leaf) {
      const what = own.inode.kind === 'symlink' ? 'a symlink' : 'no directory';
      throw this.#error(entryNames, `it lies below '${path}', which is ${what} in the same layer`);
    }
    const made = this.#implicit(path, own === undefined ? lowerDirectory : undefined);
    made.opaque = own instanceof Whiteout;
    top.directory.children.set(name, made);
    return { directory: made, view: made.opaque ? undefined : lowerDirectory, path };
  }

  /** A directory without an entry looks as it does below. */
  #implicit(path: string, lower: Directory | undefined): Directory {
    if (lower !== undefined) this.#fact('parent', path, portableAttributes(lower.attributes));
    return new Directory(lower?.attributes ?? DEFAULT_DIRECTORY, true);
  }

  #portable(inode: Inode): unknown {
    const { xattrs: _, ...rest } = inode;
    const data = inode.kind === 'file' ? { ...inode.data, source: this.#names.diffIds[inode.data.source] } : undefined;
    return { ...rest, ...portableAttributes(inode), data };
  }

  #fact(kind: string, path: string, value: unknown): void {
    this.facts.push(JSON.stringify([kind, path, value]));
  }

  #error(names: readonly string[], fact: string): Error {
    return layerError(this.#names.layer, names.join('/'), fact);
  }
}

function portableAttributes(attributes: Attributes): object {
  const { mode, uid, gid, mtime } = attributes;
  return {
    mode,
    uid,
    gid,
    mtime,
    xattrs: attributes.xattrs.map(({ name, value }) => [name, Buffer.from(value).toString('base64')]),
  };
}

function attributesOf(entry: LayerEntry): Attributes {
  const { mode, uid, gid, mtime, xattrs } = entry;
  return { mode, uid, gid, mtime, xattrs };
}

function inodeOf(entry: LayerEntry, source: number): Inode {
  const attributes = attributesOf(entry);
  switch (entry.kind) {
    case 'symlink':
      // Linux knows no other mode of a symlink, whatever the archive says.
      return { ...attributes, mode: 0o777, kind: 'symlink', target: entry.target };
    case 'char':
    case 'block':
      return { ...attributes, kind: entry.kind, major: entry.major, minor: entry.minor };
    case 'fifo':
      return { ...attributes, kind: 'fifo' };
    default:
      return { ...attributes, kind: 'file', data: { source, size: entry.size, extents: entry.extents } };
  }
}
