/**
 * Everything of an image that comes from others, under random damage: names, manifests, configurations, tar streams.
 * Whatever the bytes: an answer or a typed error, never anything else, and never more memory than the bounds allow.
 * Seeded; FUZZ_RUNS multiplies the work.
 */

import { spawnSync } from 'node:child_process';
import { mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TskataError } from '../../agent/protocol/errors.ts';
import { decodeImageDocument } from '../../runtime/image/config.ts';
import { writeErofs } from '../../runtime/image/erofs/writer.ts';
import { buildLayer } from '../../runtime/image/layer/build.ts';
import { FileBytes } from '../../runtime/image/layer/file-bytes.ts';
import { applyLayer, copyLayer } from '../../runtime/image/layer/overlay.ts';
import { scanLayer } from '../../runtime/image/layer/scan.ts';
import { Directory, Leaf, walk } from '../../runtime/image/layer/tree.ts';
import { DEFAULT_LIMITS } from '../../runtime/image/limits.ts';
import { decodeManifest } from '../../runtime/image/manifest.ts';
import { formatReference, parseReference, parseSource } from '../../runtime/image/reference.ts';
import { TarError } from '../../runtime/image/tar/header.ts';
import { type TarPiece, tarOf } from '../helpers/layer-tar.ts';

const SEED = 20_261_120;
const RUNS = 500 * Number(process.env.FUZZ_RUNS ?? 1);
const LIMITS = { ...DEFAULT_LIMITS, layerContentBytes: 1024 * 1024, layerEntries: 1000 };
const NAMES = { layer: 'sha256:f', source: 0, diffIds: ['sha256:0', 'sha256:1', 'sha256:2'] };

/** Runs a decoder; only typed errors may come out. */
function typed<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    expect(error).toBeInstanceOf(TskataError);
    return undefined;
  }
}

function scan(tar: Buffer): ReturnType<typeof scanLayer> {
  const readAt = (position: number, length: number): Buffer => {
    if (position + length > tar.length) throw new TarError('the stream ends within the entry');
    return tar.subarray(position, position + length);
  };
  return scanLayer({ length: tar.length, readAt }, 'sha256:f', LIMITS);
}

const name = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .array(fc.constantFrom('a', 'b', 'c', 'lib', '.wh.a', '.wh.b', '.wh..wh..opq', '.', '__proto__'), {
        minLength: 1,
        maxLength: 4,
      })
      .map((parts) => parts.join('/')),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom('../x', '/abs', './', 'a/../b', '', '/', `${'x'.repeat(300)}`, 'a\xff', '.wh.'),
  },
);
const piece: fc.Arbitrary<TarPiece> = fc.record({
  name,
  type: fc.constantFrom('0', '0', '5', '5', '1', '2', '3', '6', 'x', 'g', 'L', 'S', 'Z'),
  data: fc.string({ maxLength: 2000 }),
  link: fc.oneof(name, fc.constantFrom('/', '..', '../../..', 'a/b', '/a')),
  mode: fc.nat(0o7777),
  uid: fc.constantFrom(0, 1000, 3_000_000, 4_294_967_294),
  xattrs: fc.dictionary(
    fc.constantFrom('user.a', 'trusted.overlay.opaque', 'security.capability', 'system.x'),
    fc.string({ maxLength: 20 }),
    { maxKeys: 2 },
  ),
});
const pieces = fc.array(piece, { maxLength: 12 });
const damage = fc.array(fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), value: fc.nat(255) }), {
  maxLength: 6,
});

describe('image names', () => {
  it('are refused, or complete and the same again', () => {
    const text = fc.oneof(
      fc.string({ maxLength: 80 }),
      fc
        .array(fc.constantFrom('a', 'B', '/', ':', '@', '.', '-', '_', 'localhost', '5000', 'sha256:', '0'), {
          maxLength: 12,
        })
        .map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(text, (input) => {
        typed(() => parseSource(input));
        const reference = typed(() => parseReference(input));
        if (reference === undefined) return;
        const full = formatReference(reference);
        expect(full).toMatch(/^[a-z0-9.[\]:-]+\/[a-z0-9._/-]+(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$/i);
        expect(formatReference(parseReference(full))).toBe(full);
      }),
      { seed: SEED, numRuns: RUNS * 4 },
    );
  });
});

describe('documents', () => {
  it('of any JSON are read or refused', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), (text) => {
        typed(() => decodeManifest(Buffer.from(text)));
        typed(() => decodeImageDocument(Buffer.from(text)));
      }),
      { seed: SEED, numRuns: RUNS * 2 },
    );
  });

  it('that are nearly right are read or refused', () => {
    const digest = fc.constantFrom(
      `sha256:${'0'.repeat(64)}`,
      'sha256:0',
      'sha512:00',
      '',
      null,
      7,
      `sha256:${'A'.repeat(64)}`,
    );
    const descriptor = fc.record(
      {
        mediaType: fc.constantFrom(
          'application/vnd.oci.image.layer.v1.tar+gzip',
          'application/vnd.oci.image.config.v1+json',
          'x',
          null,
        ),
        digest,
        size: fc.constantFrom(0, 1, -1, 1.5, 1e300, '1', null),
      },
      { requiredKeys: [] },
    );
    const document = fc.record(
      {
        schemaVersion: fc.constantFrom(1, 2, '2'),
        mediaType: fc.constantFrom(
          undefined,
          'application/vnd.oci.image.manifest.v1+json',
          'application/vnd.oci.image.index.v1+json',
        ),
        config: descriptor,
        layers: fc.array(descriptor, { maxLength: 3 }),
        manifests: fc.array(descriptor, { maxLength: 3 }),
        os: fc.constantFrom('linux', null),
        architecture: fc.constantFrom('amd64', 1),
        rootfs: fc.record({ diff_ids: fc.array(digest, { maxLength: 3 }) }),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(document, (value) => {
        const bytes = Buffer.from(JSON.stringify(value));
        const manifest = typed(() => decodeManifest(bytes));
        if (manifest?.kind === 'manifest')
          for (const layer of manifest.layers) expect(layer.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
        typed(() => decodeImageDocument(bytes));
      }),
      { seed: SEED, numRuns: RUNS * 2 },
    );
  });
});

describe('layers', () => {
  it('of any bytes are read or refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4096 }), (bytes) => {
        typed(() => scan(Buffer.from(bytes)));
      }),
      { seed: SEED, numRuns: RUNS },
    );
  });

  it('that are damaged give a tree or an error, and a tree stays inside itself', () => {
    fc.assert(
      fc.property(pieces, pieces, damage, (lower, upper, changes) => {
        const bytes = tarOf(upper);
        for (const { at, value } of changes) bytes[Math.floor(at * (bytes.length - 1))] = value;
        const below = typed(() => buildLayer(scan(tarOf(lower)), undefined, NAMES).root);
        const entries = typed(() => scan(bytes));
        if (entries === undefined) return;
        const built = typed(() => buildLayer(entries, below, { ...NAMES, source: 1 }));
        if (built === undefined) return;
        const view = below === undefined ? copyLayer(built.root, true) : below;
        if (below !== undefined) applyLayer(view, built.root, true);
        for (const { path } of [...walk(built.root), ...walk(view)]) {
          expect(path).not.toMatch(/\/(\.\.?)?(\/|$)|\0/);
          expect(path.length).toBeLessThan(9000);
        }
      }),
      { seed: SEED, numRuns: RUNS },
    );
  });

  it('that are taken become images that another reader unpacks', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'tskata-fuzz-'));
    try {
      const samples = fc.sample(pieces, { seed: SEED, numRuns: 60 });
      let written = 0;
      for (const sample of samples) {
        const path = join(directory, 'layer.tar');
        await writeFile(path, tarOf(sample));
        const bytes = new FileBytes(path);
        const root = typed(() => buildLayer(scanLayer(bytes, 'sha256:f', LIMITS), undefined, NAMES).root);
        if (root !== undefined) {
          await expectReadable(join(directory, 'image.erofs'), root, bytes);
          written++;
        }
        bytes.close();
      }
      expect(written).toBeGreaterThan(5);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });
});

/** fsck.erofs follows every inode, and reads and writes every file. */
async function expectReadable(path: string, root: Directory, bytes: FileBytes): Promise<void> {
  const file = await open(path, 'w');
  await writeErofs(file, root, () => bytes);
  await file.close();
  const target = `${path}.d`;
  const checked = spawnSync('fsck.erofs', [`--extract=${target}`, path], { encoding: 'latin1' });
  expect(checked.status, checked.stderr).toBe(0);
  const names = await readdir(target, { recursive: true, encoding: 'latin1' });
  // Special files are not extracted, and two links of a whiteout are one inode.
  const plain = [...walk(root)].filter(
    ({ node }) => node instanceof Directory || (node instanceof Leaf && ['file', 'symlink'].includes(node.inode.kind)),
  );
  for (const { path: expected } of plain) expect(names).toContain(expected.slice(1));
  await rm(target, { recursive: true, force: true });
}
