/**
 * Owns the records of images and of their names: small JSON files with a version, each replaced in one step. A name is
 * a record of its own, so that moving a tag is one rename.
 */
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import { decodeConfig, type ImageConfig } from '../config.ts';
import { type Digest, parseDigest } from '../digest.ts';
import { Json } from '../json.ts';
import { writeFileAtomically } from './files.ts';
import type { StorePaths } from './paths.ts';

const RECORD_VERSION = 1;

interface StoredLayer {
  readonly digest: Digest;
  readonly diffId: Digest;
  /** Bytes of the blob. */
  readonly size: number;
}

/** An image: what its configuration says, and the block images made of it. */
export interface ImageRecord {
  /** Digest of the configuration, as Docker has it. */
  readonly id: Digest;
  readonly manifestDigest: Digest;
  readonly architecture: string;
  readonly os: string;
  /** RFC 3339; '' when unknown. */
  readonly created: string;
  readonly config: ImageConfig;
  /** Lowest first. */
  readonly layers: readonly StoredLayer[];
  /** Keys of the block images, lowest first, as the converter of this version made them. */
  readonly blocks: { readonly version: number; readonly keys: readonly string[] };
}

/** What a name means. */
export interface NameRecord {
  /** In full. */
  readonly name: string;
  readonly id: Digest;
  /** What the registry answered for the name: digest of an index or a manifest. */
  readonly digest: Digest;
  /** ISO 8601. */
  readonly at: string;
}

export async function writeImage(paths: StorePaths, image: ImageRecord): Promise<void> {
  const { config, ...rest } = image;
  const asObject = (keys: readonly string[]): Record<string, object> =>
    Object.fromEntries(keys.map((key) => [key, {}]));
  const stored = { ...config, ExposedPorts: asObject(config.ExposedPorts), Volumes: asObject(config.Volumes) };
  await writeFileAtomically(
    paths.image(image.id),
    `${JSON.stringify({ version: RECORD_VERSION, ...rest, config: stored })}\n`,
  );
}

export async function readImage(paths: StorePaths, id: Digest): Promise<ImageRecord | undefined> {
  const json = await readRecord(paths.image(id));
  if (json === undefined) return undefined;
  const digest = (from: Json, key: string): Digest => parseDigest(from.string(key), `${from.path}.${key}`);
  const blocks = json.object('blocks');
  return {
    id: digest(json, 'id'),
    manifestDigest: digest(json, 'manifestDigest'),
    architecture: json.string('architecture'),
    os: json.string('os'),
    created: json.string('created'),
    config: decodeConfig(json.object('config')),
    layers: json
      .objects('layers')
      .map((layer) => ({ digest: digest(layer, 'digest'), diffId: digest(layer, 'diffId'), size: layer.size('size') })),
    blocks: { version: blocks.size('version'), keys: blocks.strings('keys') },
  };
}

export async function listImages(paths: StorePaths): Promise<ImageRecord[]> {
  const images: ImageRecord[] = [];
  for (const name of await readdir(paths.images)) {
    const hex = /^([0-9a-f]{64})\.json$/.exec(name)?.[1];
    const image = hex === undefined ? undefined : await readImage(paths, `sha256:${hex}` as Digest);
    if (image !== undefined) images.push(image);
  }
  return images;
}

export async function removeImage(paths: StorePaths, id: Digest): Promise<void> {
  await rm(paths.image(id), { force: true });
}

export async function writeName(paths: StorePaths, record: NameRecord): Promise<void> {
  await writeFileAtomically(paths.name(record.name), `${JSON.stringify({ version: RECORD_VERSION, ...record })}\n`);
}

export async function readName(paths: StorePaths, name: string): Promise<NameRecord | undefined> {
  return await decodeName(paths.name(name));
}

export async function listNames(paths: StorePaths): Promise<NameRecord[]> {
  const names: NameRecord[] = [];
  for (const file of await readdir(paths.names)) {
    const record = /^[0-9a-f]{64}\.json$/.test(file) ? await decodeName(join(paths.names, file)) : undefined;
    if (record !== undefined) names.push(record);
  }
  return names.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export async function removeName(paths: StorePaths, name: string): Promise<void> {
  await rm(paths.name(name), { force: true });
}

async function decodeName(path: string): Promise<NameRecord | undefined> {
  const json = await readRecord(path);
  if (json === undefined) return undefined;
  return {
    name: json.string('name'),
    id: parseDigest(json.string('id'), `${path}: id`),
    digest: parseDigest(json.string('digest'), `${path}: digest`),
    at: json.string('at'),
  };
}

async function readRecord(path: string): Promise<Json | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const json = Json.parse(text, path);
  if (json.size('version') !== RECORD_VERSION) {
    throw new TskataError(
      Code.FailedPrecondition,
      `read ${path} - its version is not ${RECORD_VERSION} - another release of tskata wrote it; remove the file and pull the image again`,
    );
  }
  return json;
}
