/** Hostile and damaged layers: each is refused with the layer's digest and the entry's name, before anything is written. */
import { describe, expect, it } from 'vitest';
import { buildLayer } from '../../../../../runtime/image/layer/build.ts';
import { type LayerEntry, scanLayer } from '../../../../../runtime/image/layer/scan.ts';
import { Directory, Leaf } from '../../../../../runtime/image/layer/tree.ts';
import { DEFAULT_LIMITS, type ImageLimits } from '../../../../../runtime/image/limits.ts';
import { TarError } from '../../../../../runtime/image/tar/header.ts';
import { entryOf, header, paxRecord, type TarPiece, tarOf } from '../../../../helpers/layer-tar.ts';

const LAYER = 'sha256:feed';

function scan(tar: Buffer, limits: Partial<ImageLimits> = {}): LayerEntry[] {
  const readAt = (position: number, length: number): Buffer => {
    if (position + length > tar.length) throw new TarError('the stream ends within the entry');
    return tar.subarray(position, position + length);
  };
  return scanLayer({ length: tar.length, readAt }, LAYER, { ...DEFAULT_LIMITS, ...limits });
}

function build(pieces: readonly TarPiece[], below?: readonly TarPiece[]): Directory {
  const names = { layer: LAYER, source: 0, diffIds: ['sha256:0', 'sha256:1'] };
  const view = below === undefined ? undefined : buildLayer(scan(tarOf(below)), undefined, names).root;
  return buildLayer(scan(tarOf(pieces)), view, { ...names, source: 1 }).root;
}

const xattr = (name: string, bytes: number): TarPiece => ({ name: 'x', xattrs: { [name]: Buffer.alloc(bytes, 1) } });

describe('a hostile layer', () => {
  it.each<[string, TarPiece[], RegExp]>([
    ['leaves by ..', [{ name: '../etc/passwd', data: 'x' }], /entry '\.\.\/etc\/passwd' - the path has "\.\."/],
    ['leaves by .. in the middle', [{ name: 'a/../../b', data: 'x' }], /has "\.\."/],
    ['leaves by a hard link', [{ name: 'a', type: '1', link: '../../etc/shadow' }], /has "\.\."/],
    [
      'writes below an absolute symlink',
      [
        { name: 'out', type: '2', link: '/etc' },
        { name: 'out/passwd', data: 'x' },
      ],
      /entry 'out\/passwd' - it lies below '\/out', which is a symlink/,
    ],
    [
      'writes below a relative symlink',
      [
        { name: 'out', type: '2', link: '../..' },
        { name: 'out/x', data: 'x' },
      ],
      /a symlink in the same layer/,
    ],
    [
      'writes below a file',
      [
        { name: 'f', data: 'x' },
        { name: 'f/x', data: 'x' },
      ],
      /no directory in the same layer/,
    ],
    ['links to nothing', [{ name: 'a', type: '1', link: 'nowhere' }], /'nowhere' does not exist/],
    [
      'links to a directory',
      [
        { name: 'd/', type: '5' },
        { name: 'a', type: '1', link: 'd' },
      ],
      /points at a directory/,
    ],
    ['links to the root', [{ name: 'a', type: '1', link: '/' }], /points at a directory/],
    ['replaces the root', [{ name: './', type: '2', link: '/etc' }], /replace the root directory/],
    ['names a directory without end', [{ name: `${'d/'.repeat(3000)}x`, data: 'x' }], /longer than 4095 bytes/],
    ['has a name too long', [{ name: 'n'.repeat(256), data: 'x' }], /longer than 255 bytes/],
    ['has a zero byte in a name', [{ name: 'x', pax: { path: 'a\0b' } }], /zero byte/],
    ['has an empty symlink', [{ name: 's', type: '2', link: '' }], /target is empty/],
    ['has a symlink too long', [{ name: 's', type: '2', link: 't'.repeat(5000) }], /longer than 4095/],
    ['has a whiteout of nothing', [{ name: '.wh.' }], /whiteout names nothing/],
    ['has a whiteout of ..', [{ name: 'a/.wh...' }], /whiteout names nothing/],
    ['has a large attribute', [xattr('user.big', 65 * 1024)], /attribute user\.big has more than 65535 bytes/],
    ['has a long attribute name', [xattr(`user.${'n'.repeat(300)}`, 1)], /more than 255 bytes/],
    [
      'has many attributes',
      [
        {
          name: 'x',
          xattrs: { 'user.a': Buffer.alloc(60_000), 'user.b': Buffer.alloc(60_000), 'user.c': Buffer.alloc(60_000) },
        },
      ],
      /more than 131072 bytes/,
    ],
    ['has a device beyond Linux', [{ name: 'd', type: '3', major: 5000, minor: 1 }], /device number 5000:1/],
    ['has an unknown type', [{ name: 'x', type: 'Z' }], /type 'Z' is unknown/],
    ['has an id that is nobody', [{ name: 'x', pax: { uid: '4294967295' } }], /uid 4294967295/],
    ['has a negative id', [{ name: 'x', pax: { gid: '-1' } }], /gid -1/],
    ['states a negative size', [{ name: 'x', pax: { size: '-5' } }], /size is negative/],
    ['states a size beyond its end', [{ name: 'x', statedSize: 1 << 30 }], /stream ends within/],
    [
      'states a size beyond 64 bits',
      [{ name: 'x', patch: (block) => block.fill(0xff, 124, 136) }],
      /size is (negative|too large)/,
    ],
    ['has a size of letters', [{ name: 'x', patch: (block) => block.write('zzzz', 124) }], /size is not a number/],
    [
      'has a sparse map that overlaps',
      [{ name: 'x', data: 'abc', pax: { 'GNU.sparse.map': '0,2,1,1', 'GNU.sparse.size': '10' } }],
      /does not fit the file/,
    ],
    [
      'has a sparse map beyond its file',
      [{ name: 'x', data: 'abc', pax: { 'GNU.sparse.map': '9,3', 'GNU.sparse.size': '10' } }],
      /does not fit the file/,
    ],
    [
      'has a sparse map beyond its data',
      [{ name: 'x', data: 'abc', pax: { 'GNU.sparse.map': '0,9', 'GNU.sparse.size': '10' } }],
      /longer than its data/,
    ],
    [
      'has a sparse map that is none',
      [{ name: 'x', data: 'abc', pax: { 'GNU.sparse.map': '0', 'GNU.sparse.size': '10' } }],
      /malformed/,
    ],
    [
      'has a sparse map without end',
      [
        {
          name: 'x',
          data: `${'9'.repeat(600)}`,
          pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '1' },
        },
      ],
      /malformed/,
    ],
    [
      'has too many sparse runs',
      [
        {
          name: 'x',
          data: '99999\n',
          pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.realsize': '1' },
        },
      ],
      /more than 65536 runs/,
    ],
    [
      'has an unknown sparse format',
      [{ name: 'x', pax: { 'GNU.sparse.major': '7', 'GNU.sparse.minor': '7' } }],
      /sparse format 7\.7 is unknown/,
    ],
    [
      'is a sparse bomb',
      [{ name: 'x', pax: { 'GNU.sparse.map': '', 'GNU.sparse.size': '9007199254740991' } }],
      /files have more than|malformed/,
    ],
  ])('that %s is refused', (_, pieces, message) => {
    expect(() => build(pieces)).toThrow(message);
    expect(() => build(pieces)).toThrow(`convert layer ${LAYER} - entry '`);
  });

  it('is bounded in entries, content and names', () => {
    const files = Array.from({ length: 20 }, (_, index) => ({ name: `f${index}`, data: 'x'.repeat(100) }));
    expect(() => scan(tarOf(files), { layerEntries: 10 })).toThrow(/entry 'f10' - the layer has more than 10 entries/);
    expect(() => scan(tarOf(files), { layerContentBytes: 1000 })).toThrow(/more than 1000 bytes/);
    expect(() => scan(tarOf(files), { layerMetadataBytes: 500 })).toThrow(/names and attributes have more than 500/);
    expect(scan(tarOf(files))).toHaveLength(20);
  });

  it('cannot make the reader hold a large header', () => {
    const huge = Buffer.concat([header({ name: 'p', type: 'x' }, 2 ** 31), Buffer.alloc(1024)]);
    expect(() => scan(huge)).toThrow(/extended header is longer/);
    const name = Buffer.concat([header({ name: 'l', type: 'L' }, 2 ** 31), Buffer.alloc(1024)]);
    expect(() => scan(name)).toThrow(/extended header is longer/);
  });

  it('with a damaged header is refused, whatever follows', () => {
    const tar = tarOf([
      { name: 'a', data: 'x' },
      { name: 'b', data: 'y' },
    ]);
    tar[1024 + 3] = 0xff;
    expect(() => scan(tar)).toThrow(/entry 'behind a' - the header checksum is wrong/);
    const pax = Buffer.concat([
      header({ name: 'p', type: 'x' }, 8),
      Buffer.concat([Buffer.from('99 a=b\n\0'), Buffer.alloc(504)]),
      entryOf({ name: 'x' }),
    ]);
    expect(() => scan(pax)).toThrow(/extended header is malformed/);
  });

  it('shows names of entries only in printable form', () => {
    expect(() => scan(tarOf([{ name: '../\x1b[31m\n', data: '' }]))).toThrow(/entry '\.\.\/\\x1b\[31m\\x0a'/);
  });

  it('goes round in circles of lower symlinks only so long', () => {
    const below: TarPiece[] = [
      { name: 'a', type: '2', link: 'b' },
      { name: 'b', type: '2', link: 'a' },
    ];
    expect(() => build([{ name: 'a/x', data: '1' }], below)).toThrow(/more than 40 symlinks/);
  });
});

describe('what tools write', () => {
  it('long names and links of GNU tar count', () => {
    const long = `${'d'.repeat(120)}/f`;
    const gnu = (type: string, text: string): Buffer =>
      Buffer.concat([
        header({ name: '././@LongLink', type }, text.length + 1),
        Buffer.from(text),
        Buffer.alloc(512 - text.length),
      ]);
    const tar = Buffer.concat([
      gnu('L', long),
      gnu('K', `/${'t'.repeat(150)}`),
      entryOf({ name: 'short', type: '2', link: 'cut' }),
      Buffer.alloc(1024),
    ]);
    expect(scan(tar)).toMatchObject([{ names: ['d'.repeat(120), 'f'], target: `/${'t'.repeat(150)}` }]);
  });

  it('the last of equal records counts, and global records stay', () => {
    const global = paxRecord('uid', Buffer.from('77'));
    const body = Buffer.concat([paxRecord('path', Buffer.from('first')), paxRecord('path', Buffer.from('second'))]);
    const tar = Buffer.concat([
      header({ name: 'g', type: 'g' }, global.length),
      global,
      Buffer.alloc(512 - global.length),
      header({ name: 'p', type: 'x' }, body.length),
      body,
      Buffer.alloc(512 - body.length),
      entryOf({ name: 'x' }),
      entryOf({ name: 'y' }),
    ]);
    expect(scan(tar).map((entry) => [entry.names.join('/'), entry.uid])).toEqual([
      ['second', 77],
      ['y', 77],
    ]);
  });

  it('a name that ends with a slash is a directory, whatever its type says', () => {
    expect(scan(tarOf([{ name: 'old/', type: '\0' }]))).toMatchObject([{ kind: 'directory', names: ['old'] }]);
  });

  it('paths that say the same are the same', () => {
    const root = build([{ name: '/a//b/./c', data: 'x' }]);
    const a = root.children.get('a');
    const b = a instanceof Directory ? a.children.get('b') : undefined;
    expect(b instanceof Directory && b.children.get('c') instanceof Leaf).toBe(true);
  });

  it('names like those of every object are only names', () => {
    const root = build(['__proto__', 'constructor', 'toString'].map((name) => ({ name, data: name })));
    expect([...root.children.keys()]).toEqual(['__proto__', 'constructor', 'toString']);
  });
});
