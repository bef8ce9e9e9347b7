/** The options of mounts in the helper's namespace, fstab style: what is a flag, a propagation, or the file system's. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { MS } from '../../agent/sys/linux.ts';

/** Mount options with a flag; all others are data of the file system. */
const FLAGS: ReadonlyMap<string, number> = new Map([
  ['ro', MS.RDONLY],
  ['rw', 0],
  ['nosuid', MS.NOSUID],
  ['nodev', MS.NODEV],
  ['noexec', MS.NOEXEC],
  ['noatime', MS.NOATIME],
  ['nodiratime', MS.NODIRATIME],
  ['relatime', MS.RELATIME],
  ['strictatime', MS.STRICTATIME],
  ['sync', MS.SYNCHRONOUS],
  ['bind', MS.BIND],
  ['rbind', MS.BIND | MS.REC],
  ['defaults', 0],
  ['suid', 0],
  ['dev', 0],
  ['exec', 0],
]);

/** Whether a bind follows what the host mounts and unmounts below its source; nothing ever goes the other way. */
const PROPAGATION: ReadonlyMap<string, number> = new Map([
  ['private', MS.PRIVATE],
  ['rprivate', MS.PRIVATE],
  ['slave', MS.SLAVE],
  ['rslave', MS.SLAVE],
]);

const REFUSED: ReadonlySet<string> = new Set(['shared', 'rshared', 'remount', 'move']);

/** What a list of options means. */
export interface ParsedOptions {
  /** MS.*; of a recursive bind they go for all that is mounted below, too. */
  readonly flags: number;
  /** MS.PRIVATE or MS.SLAVE. */
  readonly propagation: number;
  /** Options of the file system. */
  readonly data: readonly string[];
}

/** Sorts options. Throws InvalidArgument for shared propagation and remounts. */
export function parseMountOptions(options: readonly string[]): ParsedOptions {
  let flags = 0;
  let propagation: number = MS.PRIVATE;
  const data: string[] = [];
  for (const option of options) {
    const flag = FLAGS.get(option);
    const named = PROPAGATION.get(option);
    if (REFUSED.has(option)) {
      throw new TskataError(Code.InvalidArgument, `mount: option ${option} is not allowed here`);
    }
    if (flag !== undefined) flags |= flag;
    else if (named !== undefined) propagation = named;
    else if (option !== '') data.push(option);
  }
  return { flags, propagation, data };
}
