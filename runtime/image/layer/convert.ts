/**
 * Owns the way from an image's layers to at most MAX_LAYER_DISKS block images: read each layer's entries, build its tree
 * on top of those below, group, write what is missing. Nothing is ever unpacked on the host: content goes from the tar
 * streams straight into the images. It does not know where layers come from.
 */
import { access, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import { type Digest, digestOf, hexOf } from '../digest.ts';
import { writeErofs } from '../erofs/writer.ts';
import { type ImageLimits, MAX_LAYER_DISKS } from '../limits.ts';
import { temporaryName, withFile } from '../store/files.ts';
import { withLock } from '../store/lock.ts';
import type { StorePaths } from '../store/paths.ts';
import { TarError } from '../tar/header.ts';
import { withWorkplace } from '../workplace.ts';
import { buildLayer } from './build.ts';
import { readEntryList, writeEntryList } from './entry-list.ts';
import { FileBytes } from './file-bytes.ts';
import { groupLayers } from './groups.ts';
import { applyLayer, copyLayer } from './overlay.ts';
import { type LayerEntry, layerError, scanLayer } from './scan.ts';
import { openStream } from './stream.ts';
import { Directory, Whiteout, walk } from './tree.ts';

/** Changes whenever the same layers would give other block images. */
export const CONVERTER_VERSION = 2;
/** File system of the images. */
export const LAYER_TYPE = 'erofs';
/** Another process that converts the same layer is waited for this long. */
const LOCK_DEADLINE_MS = 15 * 60_000;

/** One layer of an image, lowest first. */
export interface SourceLayer {
  readonly digest: Digest;
  readonly diffId: Digest;
}

/** What a caller hears while it waits. */
export type ConvertProgress = (step: { readonly done: number; readonly total: number; readonly what: string }) => void;

/** Makes the block images that are missing and returns the keys of all, lowest first. Throws naming layer and entry. */
export async function convertLayers(
  paths: StorePaths,
  layers: readonly SourceLayer[],
  limits: ImageLimits,
  progress: ConvertProgress = () => {},
): Promise<string[]> {
  return await withWorkplace(paths, async (directory) => {
    const job = new ConvertJob(paths, layers, limits, progress, directory);
    try {
      return await job.run();
    } finally {
      job.close();
    }
  });
}

/** A layer that is part of the result. */
interface Part {
  readonly number: number;
  root: Directory;
  facts: readonly string[];
  /** Bytes of its files. */
  readonly size: number;
}

class ConvertJob {
  readonly #paths: StorePaths;
  readonly #layers: readonly SourceLayer[];
  readonly #limits: ImageLimits;
  readonly #progress: ConvertProgress;
  readonly #directory: string;
  readonly #streams = new Map<number, FileBytes>();

  constructor(
    paths: StorePaths,
    layers: readonly SourceLayer[],
    limits: ImageLimits,
    progress: ConvertProgress,
    directory: string,
  ) {
    this.#paths = paths;
    this.#layers = layers;
    this.#limits = limits;
    this.#progress = progress;
    this.#directory = directory;
  }

  async run(): Promise<string[]> {
    const parts = await this.#build();
    const groups = groupLayers(
      parts.map((part) => part.size),
      MAX_LAYER_DISKS,
    );
    const keys: string[] = [];
    for (const group of groups) keys.push(await this.#writeGroup(parts.slice(group.from, group.to), group.from === 0));
    return keys;
  }

  close(): void {
    for (const stream of this.#streams.values()) stream.close();
  }

  /** The trees of all layers that have any effect. */
  async #build(): Promise<Part[]> {
    const diffIds = this.#layers.map((layer) => layer.diffId);
    let parts: Part[] = [];
    let view: Directory | undefined;
    let total = 0;
    for (const [number, layer] of this.#layers.entries()) {
      this.#progress({ done: number, total: this.#layers.length, what: layer.digest });
      const entries = await this.#entries(number);
      total += entries.length;
      if (total > this.#limits.imageEntries) {
        throw new TskataError(
          Code.ResourceExhausted,
          `convert layer ${layer.digest} - the image has more than ${this.#limits.imageEntries} entries`,
        );
      }
      const { root, facts } = buildLayer(entries, view, { layer: layer.digest, source: number, diffIds });
      // overlayfs looks at no mark on the root of a layer: what a whole layer hides is left out here.
      if (root.opaque) parts = [];
      const empty = root.children.size === 0 && root.implicit && !root.opaque;
      if (!empty || number === 0) parts.push({ number, root, facts, size: contentBytes(entries) });
      if (view === undefined) view = copyLayer(root, true);
      else applyLayer(view, root, true);
    }
    const lowest = parts[0];
    if (lowest !== undefined && hasMarks(lowest.root)) {
      lowest.root = copyLayer(lowest.root, true);
      lowest.facts = [...lowest.facts, 'lowest'];
    }
    return parts;
  }

  async #entries(number: number): Promise<LayerEntry[]> {
    const layer = this.#layers[number] as SourceLayer;
    const list = this.#paths.entryList(layer.diffId);
    const known = await readEntryList(list);
    // The bounds may be tighter than when the list was made: then the scan says what is wrong.
    if (
      known !== undefined &&
      known.length <= this.#limits.layerEntries &&
      contentBytes(known) <= this.#limits.layerContentBytes
    ) {
      return known;
    }
    const entries = scanLayer(await this.#stream(number), layer.digest, this.#limits);
    await writeEntryList(list, entries);
    return entries;
  }

  /** The layer's tar stream, decompressed and verified once a job. */
  async #stream(number: number): Promise<FileBytes> {
    const open = this.#streams.get(number);
    if (open !== undefined) return open;
    const layer = this.#layers[number] as SourceLayer;
    const request = {
      blob: this.#paths.blob(layer.digest),
      digest: layer.digest,
      diffId: layer.diffId,
      maxBytes: this.#limits.layerStreamBytes,
    };
    const stream = new FileBytes(await openStream(request, join(this.#directory, `${number}.tar`)));
    this.#streams.set(number, stream);
    return stream;
  }

  async #writeGroup(parts: readonly Part[], lowest: boolean): Promise<string> {
    const alone = parts.length === 1;
    const identity = parts.map((part) => [this.#layers[part.number]?.diffId, part.facts]);
    const key = hexOf(digestOf(JSON.stringify([CONVERTER_VERSION, !alone && lowest, identity])));
    const path = this.#paths.layer(key);
    if (await exists(path)) return key;
    await withLock(this.#paths.locks, key, LOCK_DEADLINE_MS, async () => {
      if (await exists(path)) return;
      await this.#writeImage(mergeParts(parts, lowest), path);
    });
    return key;
  }

  async #writeImage(root: Directory, path: string): Promise<void> {
    const needed = new Set<number>();
    for (const { node } of walk(root)) {
      if (!(node instanceof Directory) && !(node instanceof Whiteout) && node.inode.kind === 'file')
        needed.add(node.inode.data.source);
    }
    for (const number of needed) await this.#stream(number);
    const temporary = temporaryName(path);
    try {
      await withFile(temporary, 'wx', async (file) => {
        await writeErofs(file, root, (source) => this.#streams.get(source) as FileBytes);
        await file.sync();
      });
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error instanceof TarError
        ? layerError(this.#layers.map((layer) => layer.digest).join(','), '', error.message)
        : error;
    }
  }
}

function mergeParts(parts: readonly Part[], lowest: boolean): Directory {
  const [first, ...others] = parts;
  if (first === undefined) throw new Error('a group without layers');
  if (others.length === 0) return first.root;
  const merged = copyLayer(first.root, lowest);
  for (const part of others) applyLayer(merged, part.root, lowest);
  return merged;
}

function contentBytes(entries: readonly LayerEntry[]): number {
  return entries.reduce((sum, entry) => sum + entry.size, 0);
}

function hasMarks(root: Directory): boolean {
  if (root.opaque) return true;
  for (const { node } of walk(root)) {
    if (node instanceof Whiteout || (node instanceof Directory && node.opaque)) return true;
  }
  return false;
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
