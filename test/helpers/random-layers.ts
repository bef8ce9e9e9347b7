/**
 * Makes images of many random layers that make sense: each layer changes what the ones below have. Seeded, so that a
 * failure can be repeated.
 */
import { entryOf, type TarPiece, tarOf } from './layer-tar.ts';

type Kind = 'dir' | 'file' | 'other';

/** A small generator of numbers (mulberry32): the same seed gives the same images everywhere. */
export function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];
const OPERATIONS_PER_LAYER = 14;

/** Tar streams, lowest first. */
export function randomLayers(seed: number, count: number): Buffer[] {
  const next = random(seed);
  const merged = new Map<string, Kind>();
  return Array.from({ length: count }, (_, number) => layer(next, merged, number));
}

function layer(next: (below: number) => number, merged: Map<string, Kind>, number: number): Buffer {
  const pieces: TarPiece[] = [];
  /** Paths that this layer has an entry for: it changes each only once, as tools do. */
  const touched = new Set<string>();
  const own = new Map<string, Kind>();
  const parents = (): string[] => [
    '',
    ...[...merged].filter(([path, kind]) => kind === 'dir' && !isHiddenBy(path)).map(([path]) => path),
  ];
  const isHiddenBy = (path: string): boolean =>
    [...touched].some((other) => other.startsWith('-') && `${path}/`.startsWith(`${other.slice(1)}/`));
  const forget = (path: string): void => {
    for (const known of [...merged.keys()]) if (known === path || known.startsWith(`${path}/`)) merged.delete(known);
  };
  const owner = (): { uid: number; gid: number; mtime: number } => ({
    uid: next(3) * 1000,
    gid: next(2) * 3_000_000,
    mtime: 1_600_000_000 + number * 1000 + next(900),
  });
  for (let count = 0; count < OPERATIONS_PER_LAYER; count++) {
    const folders = parents();
    const folder = folders[next(folders.length)] ?? '';
    if (folder.split('/').length > 4) continue;
    const path = folder === '' ? (NAMES[next(NAMES.length)] ?? '') : `${folder}/${NAMES[next(NAMES.length)]}`;
    const before = merged.get(path);
    if (
      touched.has(path) ||
      touched.has(`-${path}`) ||
      [...touched].some((other) => other.replace('-', '').startsWith(`${path}/`))
    )
      continue;
    const put = (kind: Kind, piece: Omit<TarPiece, 'name'>): void => {
      if (kind !== 'dir' || before !== 'dir') forget(path);
      merged.set(path, kind);
      own.set(path, kind);
      touched.add(path);
      pieces.push({ name: kind === 'dir' ? `${path}/` : path, ...owner(), ...piece });
    };
    switch (next(9)) {
      case 0:
      case 1:
        put('file', {
          data: `content ${number} ${count} ${'x'.repeat(next(3) * 700)}`,
          mode: [0o644, 0o755, 0o4755, 0o600][next(4)] ?? 0o644,
        });
        break;
      case 2:
      case 3:
        put('dir', { type: '5', mode: [0o755, 0o700, 0o1777, 0o2750][next(4)] ?? 0o755 });
        break;
      case 4:
        put('other', { type: '2', link: ['../x', '/etc/abs', 'a', 'dangling/away'][next(4)] ?? 'a' });
        break;
      case 5: {
        const files = [...own].filter(([, kind]) => kind === 'file').map(([name]) => name);
        const target = files[next(Math.max(files.length, 1))];
        if (target !== undefined && merged.get(target) === 'file') {
          forget(path);
          merged.set(path, 'file');
          touched.add(path);
          pieces.push({ name: path, type: '1', link: target });
        }
        break;
      }
      case 6:
        if (next(2) === 0) put('other', { type: '6' });
        else put('other', { type: '3', major: 1, minor: 3 + next(5), mode: 0o666 });
        break;
      case 7:
        if (before !== undefined) {
          forget(path);
          touched.add(`-${path}`);
          pieces.push({ name: `${folder === '' ? '' : `${folder}/`}.wh.${path.split('/').at(-1)}` });
        }
        break;
      default:
        if (before === 'dir') {
          forget(path);
          merged.set(path, 'dir');
          touched.add(path);
          pieces.push({ name: `${path}/`, type: '5', mode: 0o711, ...owner() }, { name: `${path}/.wh..wh..opq` });
        } else
          put('file', {
            data: Buffer.alloc(next(300_000), count),
            xattrs: { 'user.layer': `${number}`, 'user.bytes': Buffer.from([0x31, 0x0a, 0x32]) },
          });
    }
  }
  return pieces.length === 0 ? tarOf([]) : Buffer.concat([...pieces.map(entryOf), Buffer.alloc(1024)]);
}
