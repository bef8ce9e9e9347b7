/** Owns the places of everything that the image store keeps below its root. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Digest, digestOf, hexOf } from '../digest.ts';

export class StorePaths {
  readonly root: string;
  readonly blobs: string;
  readonly layers: string;
  readonly images: string;
  readonly names: string;
  readonly scratch: string;
  readonly locks: string;
  readonly temporary: string;

  /** `root`: /var/lib/tskata or what the operator gave instead. */
  constructor(root: string) {
    this.root = root;
    this.blobs = join(root, 'blobs', 'sha256');
    this.layers = join(root, 'layers');
    this.images = join(root, 'images');
    this.names = join(root, 'images', 'names');
    this.scratch = join(root, 'scratch');
    this.locks = join(root, 'locks');
    this.temporary = join(root, 'tmp');
  }

  /** Makes the directories: 0700, because layers may hold what only the container may see. */
  async create(): Promise<void> {
    for (const directory of [this.blobs, this.layers, this.names, this.scratch, this.locks, this.temporary]) {
      await mkdir(directory, { recursive: true, mode: 0o700 });
    }
  }

  blob(digest: Digest): string {
    return join(this.blobs, hexOf(digest));
  }

  /** Block image by its key: 64 hexadecimal digits. */
  layer(key: string): string {
    return join(this.layers, `${key}.erofs`);
  }

  entryList(diffId: Digest): string {
    return join(this.layers, `${hexOf(diffId)}.entries.json`);
  }

  image(id: Digest): string {
    return join(this.images, `${hexOf(id)}.json`);
  }

  name(name: string): string {
    return join(this.names, `${hexOf(digestOf(name))}.json`);
  }
}
