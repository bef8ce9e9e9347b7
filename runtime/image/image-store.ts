/**
 * Owns the image store as others see it: pull, load, find, list, remove, and the block images of an image. The steps are
 * elsewhere; here is their order, and what makes it safe that several processes do this at once.
 */
import { access } from 'node:fs/promises';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { listArchive, namesOfSource, withPlainArchive } from './archive.ts';
import { checkPlatform, decodeImageDocument, type ImageConfig } from './config.ts';
import type { Digest } from './digest.ts';
import { findDamage } from './erofs/inspect.ts';
import { type Fetched, type FetchOptions, fetchFromArchive, fetchFromRegistry } from './fetch.ts';
import { CONVERTER_VERSION, convertLayers, LAYER_TYPE } from './layer/convert.ts';
import { DEFAULT_LIMITS, type ImageLimits } from './limits.ts';
import type { OnProgress } from './progress.ts';
import { formatReference, parseReference, parseSource } from './reference.ts';
import type { RegistryAccess } from './skopeo.ts';
import { readBlob } from './store/blobs.ts';
import { takeLease, withLock } from './store/lock.ts';
import { StorePaths } from './store/paths.ts';
import {
  type ImageRecord,
  listImages,
  listNames,
  type NameRecord,
  readImage,
  readName,
  writeImage,
  writeName,
} from './store/records.ts';
import { PRUNE_DEADLINE_MS, PRUNE_LOCK, pruneStore, type Removed, removeFromStore } from './store/removal.ts';
import { type ImageUsage, noUsage } from './usage.ts';
import { sweepWorkplaces } from './workplace.ts';

/** How to pull or load. */
export interface PullOptions extends RegistryAccess {
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
  /** Name for an image of an archive that has none. */
  readonly name?: string;
}

/** A name and its image. */
export interface NamedImage {
  /** In full; '' for an image that has lost its names. */
  readonly name: string;
  readonly image: ImageRecord;
}

/** What a container of an image is made of. */
export interface PreparedRootfs {
  readonly id: Digest;
  /** Host paths of block images, lowest first; at most MAX_LAYER_DISKS. */
  readonly layers: readonly string[];
  /** File system of the block images, as the guest's mount wants it. */
  readonly layerType: typeof LAYER_TYPE;
  readonly config: ImageConfig;
  /** Ends the protection against removal: call it when the container's record names the image. */
  release(): Promise<void>;
}

export class ImageStore {
  readonly paths: StorePaths;
  readonly #limits: ImageLimits;
  readonly #usage: ImageUsage;

  private constructor(paths: StorePaths, limits: ImageLimits, usage: ImageUsage) {
    this.paths = paths;
    this.#limits = limits;
    this.#usage = usage;
  }

  /** Opens the store below `root`, makes its directories, and removes what dead processes left unfinished. */
  static async open(
    root: string,
    options: { readonly limits?: ImageLimits; readonly usage?: ImageUsage } = {},
  ): Promise<ImageStore> {
    const paths = new StorePaths(root);
    await paths.create();
    await sweepWorkplaces(paths);
    return new ImageStore(paths, options.limits ?? DEFAULT_LIMITS, options.usage ?? noUsage);
  }

  /** Fetches an image by its name or by `transport:...`, converts it and stores it under its name. */
  async pull(text: string, options: PullOptions = {}): Promise<NamedImage> {
    const source = parseSource(text);
    const fetchOptions = withDefaults(options);
    return await this.#leased(async () => {
      if (source.transport === 'docker') {
        const fetched = await fetchFromRegistry(this.paths, source.reference, fetchOptions);
        return await this.#add(fetched, [formatReference(source.reference)], fetchOptions);
      }
      const names =
        options.name === undefined ? namesOfSource(source) : [formatReference(parseReference(options.name))];
      return await withPlainArchive(this.paths, source.path, this.#limits, async (plain) => {
        return await this.#add(await fetchFromArchive(this.paths, source, plain, fetchOptions), names, fetchOptions);
      });
    });
  }

  /** Takes every image out of an archive (of `docker save`, or an OCI layout as a file or directory). */
  async load(path: string, options: PullOptions = {}): Promise<NamedImage[]> {
    const fetchOptions = withDefaults(options);
    const load = async (plain: string): Promise<NamedImage[]> => {
      const loaded: NamedImage[] = [];
      for (const { source, names } of await listArchive(plain, path)) {
        const given = options.name === undefined ? names : [formatReference(parseReference(options.name))];
        const fetched = await fetchFromArchive(this.paths, source, plain, fetchOptions);
        loaded.push(await this.#add(fetched, given, fetchOptions));
      }
      return loaded;
    };
    return await this.#leased(() => withPlainArchive(this.paths, path, this.#limits, load));
  }

  /** Stores an image whose blobs are already in the store (the built-in one). */
  async add(fetched: Fetched, name: string, onProgress: OnProgress = () => {}): Promise<NamedImage> {
    return await this.#leased(() =>
      this.#add(fetched, [formatReference(parseReference(name))], { access: {}, onProgress }),
    );
  }

  /** The image that a name, a digest or (the beginning of) an id means. */
  async find(text: string): Promise<NamedImage | undefined> {
    const byId = await this.#findById(text);
    if (byId !== undefined) return byId;
    const source = parseSource(text);
    if (source.transport !== 'docker') return undefined;
    const { reference } = source;
    const name = formatReference(reference);
    const exact = await readName(this.paths, name);
    if (exact !== undefined) return await this.#named(exact);
    if (reference.digest === undefined) return undefined;
    // Pulled under a tag, asked for by digest.
    const repository = formatReference({ ...reference, tag: undefined, digest: undefined });
    for (const record of await listNames(this.paths)) {
      const same = record.name.startsWith(`${repository}:`) || record.name.startsWith(`${repository}@`);
      const image = same ? await readImage(this.paths, record.id) : undefined;
      if (image && (record.digest === reference.digest || image.manifestDigest === reference.digest))
        return { name: record.name, image };
    }
    return undefined;
  }

  /** All names with their images, then images without a name. */
  async list(): Promise<NamedImage[]> {
    const images = new Map((await listImages(this.paths)).map((image) => [image.id, image]));
    const named = (await listNames(this.paths)).flatMap(({ name, id }) => {
      const image = images.get(id);
      return image === undefined ? [] : [{ name, image }];
    });
    for (const { image } of named) images.delete(image.id);
    return [...named, ...[...images.values()].map((image) => ({ name: '', image }))];
  }

  /** Takes a name away, and the image with its last name. Refused while a living container uses it. */
  async remove(text: string): Promise<Removed> {
    const found = await this.find(text);
    if (found === undefined)
      throw new TskataError(Code.NotFound, `remove image ${text} - there is no such image - see \`tskata images\``);
    const removed = await removeFromStore(
      this.paths,
      found,
      found.name === '' || isIdOf(text, found.image),
      this.#usage,
    );
    await this.prune();
    return removed;
  }

  /** Deletes blobs and block images that no image needs; returns the bytes that became free. */
  async prune(): Promise<number> {
    return await pruneStore(this.paths);
  }

  /** The block images of an image (made again when they are missing) and its configuration, protected from removal. */
  async prepareRootfs(image: ImageRecord, onProgress: OnProgress = () => {}): Promise<PreparedRootfs> {
    checkPlatform({ ...image, diffIds: [] }, image.id);
    const release = await this.#takeLease();
    try {
      const keys = (await this.#hasBlocks(image)) ? image.blocks.keys : await this.#convert(image, onProgress);
      const layers = keys.map((key) => this.paths.layer(key));
      await refuseDamaged(image, layers);
      return { id: image.id, layers, layerType: LAYER_TYPE, config: image.config, release };
    } catch (error) {
      await release();
      throw this.#explained(error);
    }
  }

  async #add(fetched: Fetched, names: readonly string[], options: FetchOptions): Promise<NamedImage> {
    const { manifest } = fetched;
    const document = decodeImageDocument(await readBlob(this.paths, manifest.config.digest));
    const shown = names[0] ?? manifest.config.digest;
    checkPlatform(document, shown);
    if (document.diffIds.length !== manifest.layers.length) {
      throw new TskataError(
        Code.InvalidArgument,
        `store image ${shown} - its manifest has ${manifest.layers.length} layers, its configuration ${document.diffIds.length}`,
      );
    }
    const layers = manifest.layers.map(({ digest, size }, index) => ({
      digest,
      size,
      diffId: document.diffIds[index] as Digest,
    }));
    const blank: ImageRecord = {
      id: manifest.config.digest,
      manifestDigest: fetched.manifestDigest,
      architecture: document.architecture,
      os: document.os,
      created: document.created,
      config: document.config,
      layers,
      blocks: { version: CONVERTER_VERSION, keys: [] },
    };
    const known = await readImage(this.paths, blank.id);
    // The id is the digest of the configuration, which names the content of all layers.
    const reusable = known !== undefined && (await this.#hasBlocks(known)) ? known.blocks.keys : undefined;
    const keys = reusable ?? (await this.#convert(blank, options.onProgress));
    const image = { ...blank, blocks: { version: CONVERTER_VERSION, keys } };
    await writeImage(this.paths, image);
    for (const name of names) {
      await writeName(this.paths, { name, id: image.id, digest: fetched.digest, at: new Date().toISOString() });
    }
    options.onProgress({ phase: 'done', done: 1, total: 1, what: shown });
    return { name: names[0] ?? '', image };
  }

  async #convert(image: ImageRecord, onProgress: OnProgress): Promise<string[]> {
    const keys = await convertLayers(this.paths, image.layers, this.#limits, (step) =>
      onProgress({ phase: 'convert', ...step }),
    );
    onProgress({ phase: 'convert', done: image.layers.length, total: image.layers.length, what: image.id });
    return keys;
  }

  async #hasBlocks(image: ImageRecord): Promise<boolean> {
    if (image.blocks.version !== CONVERTER_VERSION || image.blocks.keys.length === 0) return false;
    const found = await Promise.all(
      image.blocks.keys.map((key) =>
        access(this.paths.layer(key)).then(
          () => true,
          () => false,
        ),
      ),
    );
    return found.every(Boolean);
  }

  async #findById(text: string): Promise<NamedImage | undefined> {
    const hex = /^(?:sha256:)?([0-9a-f]{8,64})$/.exec(text)?.[1];
    if (hex === undefined) return undefined;
    const matches = (await this.list()).filter(({ image }) => isIdOf(hex, image));
    const ids = new Set(matches.map(({ image }) => image.id));
    if (ids.size > 1)
      throw new TskataError(
        Code.InvalidArgument,
        `find image ${text} - ${ids.size} images begin so - give more digits`,
      );
    return matches[0];
  }

  async #named(record: NameRecord): Promise<NamedImage | undefined> {
    const image = await readImage(this.paths, record.id);
    return image === undefined ? undefined : { name: record.name, image };
  }

  async #leased<T>(work: () => Promise<T>): Promise<T> {
    const release = await this.#takeLease();
    try {
      return await work();
    } catch (error) {
      throw this.#explained(error);
    } finally {
      await release();
    }
  }

  /** A full disk says nothing of images by itself. */
  #explained(error: unknown): unknown {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
    const message = `store image - ${this.paths.root} - the disk is full - free some space, \`tskata rmi\` and \`tskata gc\` help`;
    return new TskataError(Code.ResourceExhausted, message, error);
  }

  /** First the lease, then the look at a removal under way: whichever of the two comes second sees the other. */
  async #takeLease(): Promise<() => Promise<void>> {
    const release = await takeLease(this.paths.locks);
    await withLock(this.paths.locks, PRUNE_LOCK, PRUNE_DEADLINE_MS, async () => {});
    return release;
  }
}

/** A guest would only say that a file system is not one, without the name of the file. */
async function refuseDamaged(image: ImageRecord, layers: readonly string[]): Promise<void> {
  for (const path of layers) {
    const damage = await findDamage(path);
    if (damage === undefined) continue;
    throw new TskataError(
      Code.DataLoss,
      `use image ${image.id} - its layer ${path} is damaged: ${damage} - remove this file, and the next run makes it again`,
    );
  }
}

function isIdOf(text: string, image: ImageRecord): boolean {
  const hex = text.replace(/^sha256:/, '');
  return hex.length >= 8 && image.id.startsWith(`sha256:${hex}`);
}

function withDefaults(options: PullOptions): FetchOptions {
  const { onProgress = () => {}, signal, name: _, ...registryAccess } = options;
  return { access: registryAccess, onProgress, ...(signal ? { signal } : {}) };
}
