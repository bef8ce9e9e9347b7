/**
 * Owns the text that mount(2) takes for an overlay: one page for all paths of all layers. A pure function; the options
 * themselves have been checked by whoever asked for the mount.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { utf8 } from '../../agent/sys/structs.ts';

/** mount(2) copies one page, whose last byte must stay 0. */
const MAX_DATA_BYTES = 4095;
const LOWER = 'lowerdir=';
/** Layers are separated by a colon; a backslash in front makes it part of a path. */
const SEPARATOR = /(?<!\\):/;

/** What to mount, and where to stand meanwhile. */
export interface OverlayData {
  /** Working directory from which lower layers are named; undefined when all paths are absolute. */
  readonly directory: string | undefined;
  readonly data: string;
}

/**
 * Joins options. When they do not fit, lower layers are named relative to the directory that they have in common: a
 * hundred layers of containerd's are a hundred numbers then. Throws ResourceExhausted when even that is too much.
 */
export function overlayData(options: readonly string[]): OverlayData {
  const data = options.join(',');
  if (fits(data)) return { directory: undefined, data };
  const lowers =
    options
      .find((option) => option.startsWith(LOWER))
      ?.slice(LOWER.length)
      .split(SEPARATOR) ?? [];
  const directory = commonDirectory(lowers);
  const relative = lowers.map((lower) => lower.slice(directory.length));
  const short = options
    .map((option) => (option.startsWith(LOWER) ? `${LOWER}${relative.join(':')}` : option))
    .join(',');
  if (lowers.length > 0 && relative.every((path) => path !== '') && fits(short)) return { directory, data: short };
  throw new TskataError(
    Code.ResourceExhausted,
    `mount overlay of ${lowers.length} layers: their paths are longer than the ${MAX_DATA_BYTES} bytes that the kernel takes - flatten the image`,
  );
}

/** The same with an index of hard links, which only a writable overlay can have. */
export function withIndex(options: readonly string[]): readonly string[] {
  if (!options.some((option) => option.startsWith('upperdir='))) return options;
  return [...options.filter((option) => !option.startsWith('index=')), 'index=on'];
}

function fits(data: string): boolean {
  return utf8(data).length <= MAX_DATA_BYTES;
}

/** The longest directory, with its slash, that all paths begin with. */
function commonDirectory(paths: readonly string[]): string {
  const [first = ''] = paths;
  let end = first.lastIndexOf('/') + 1;
  while (end > 0 && !paths.every((path) => path.startsWith(first.slice(0, end)))) {
    end = first.lastIndexOf('/', end - 2) + 1;
  }
  return first.slice(0, end);
}
