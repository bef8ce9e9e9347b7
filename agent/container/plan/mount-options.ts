/**
 * Owns the meaning of mount options (OCI config.md, "mounts", and mount(8)). Knows no path and makes no step.
 */
import { MOUNT_ATTR, MS } from '../../sys/linux.ts';
import type { MountChange } from './builder.ts';

/** Options of one mount, sorted by what carries them out. */
export interface MountOptions {
  /** Per-mount attributes of the mount itself. */
  readonly attributes: MountChange;
  /** Attributes of the mount and all below it: "rro". */
  readonly recursiveAttributes: MountChange;
  /** Propagation; undefined when not said. */
  readonly propagation?: { readonly type: number; readonly recursive: boolean };
  readonly bind: boolean;
  readonly recursiveBind: boolean;
  /** Copies what the image has at the destination into the new tmpfs. */
  readonly copyUp: boolean;
  /** What is left for the file system itself: "size=64m", "sync". */
  readonly data: readonly string[];
}

/** set, clear */
const ATTRIBUTES: ReadonlyMap<string, readonly [number, number]> = new Map([
  ['ro', [MOUNT_ATTR.RDONLY, 0]],
  ['rw', [0, MOUNT_ATTR.RDONLY]],
  ['nosuid', [MOUNT_ATTR.NOSUID, 0]],
  ['suid', [0, MOUNT_ATTR.NOSUID]],
  ['nodev', [MOUNT_ATTR.NODEV, 0]],
  ['dev', [0, MOUNT_ATTR.NODEV]],
  ['noexec', [MOUNT_ATTR.NOEXEC, 0]],
  ['exec', [0, MOUNT_ATTR.NOEXEC]],
  ['nodiratime', [MOUNT_ATTR.NODIRATIME, 0]],
  ['diratime', [0, MOUNT_ATTR.NODIRATIME]],
  ['nosymfollow', [MOUNT_ATTR.NOSYMFOLLOW, 0]],
  ['symfollow', [0, MOUNT_ATTR.NOSYMFOLLOW]],
]);

const ATIME: ReadonlyMap<string, number> = new Map([
  ['relatime', MOUNT_ATTR.RELATIME],
  ['atime', MOUNT_ATTR.RELATIME],
  ['noatime', MOUNT_ATTR.NOATIME],
  ['strictatime', MOUNT_ATTR.STRICTATIME],
  ['norelatime', MOUNT_ATTR.STRICTATIME],
  ['nostrictatime', MOUNT_ATTR.RELATIME],
]);

const PROPAGATION: ReadonlyMap<string, number> = new Map([
  ['private', MS.PRIVATE],
  ['shared', MS.SHARED],
  ['slave', MS.SLAVE],
  ['unbindable', MS.UNBINDABLE],
]);

/** Words that mean what happens without them, or nothing to the file systems of a container. */
const EMPTY_WORDS = new Set([
  '',
  'defaults',
  'async',
  'remount',
  'loud',
  'silent',
  'nomand',
  'iversion',
  'noiversion',
  'nolazytime',
]);

/** Propagation of "rshared", "private" and the like; undefined for another word. */
export function parsePropagation(word: string): { readonly type: number; readonly recursive: boolean } | undefined {
  const plain = PROPAGATION.get(word);
  if (plain !== undefined) return { type: plain, recursive: false };
  const recursive = word.startsWith('r') ? PROPAGATION.get(word.slice(1)) : undefined;
  return recursive === undefined ? undefined : { type: recursive, recursive: true };
}

/** A change under construction. */
interface Draft {
  set: number;
  clear: number;
  atime: number | undefined;
}

/** Adds an attribute word; the last word about an attribute counts. Returns false for another word. */
function addAttribute(draft: Draft, word: string): boolean {
  const atime = ATIME.get(word);
  if (atime !== undefined) {
    draft.atime = atime;
    return true;
  }
  const change = ATTRIBUTES.get(word);
  if (change === undefined) return false;
  const [set, clear] = change;
  draft.set = (draft.set | set) & ~clear;
  draft.clear = (draft.clear | clear) & ~set;
  return true;
}

function finished(draft: Draft, recursive: boolean): MountChange {
  const { set, clear, atime } = draft;
  return { set, clear, ...(atime === undefined ? {} : { atime }), ...(recursive ? { recursive } : {}) };
}

/** Sorts the words. Unknown ones are the file system's own, as runc has it. */
export function parseMountOptions(options: readonly string[], type: string): MountOptions {
  const attributes: Draft = { set: 0, clear: 0, atime: undefined };
  const recursive: Draft = { set: 0, clear: 0, atime: undefined };
  const data: string[] = [];
  let propagation: MountOptions['propagation'];
  let bind = type === 'bind';
  let recursiveBind = false;
  let copyUp = false;
  for (const word of options) {
    if (EMPTY_WORDS.has(word) || addAttribute(attributes, word)) continue;
    if (word === 'bind' || word === 'rbind') {
      bind = true;
      recursiveBind ||= word === 'rbind';
    } else if (word === 'tmpcopyup') {
      copyUp = true;
    } else {
      const parsed = parsePropagation(word);
      if (parsed !== undefined) propagation = parsed;
      else if (!(word.startsWith('r') && addAttribute(recursive, word.slice(1)))) data.push(word);
    }
  }
  return {
    attributes: finished(attributes, false),
    recursiveAttributes: finished(recursive, true),
    ...(propagation === undefined ? {} : { propagation }),
    bind,
    recursiveBind,
    copyUp,
    data,
  };
}
