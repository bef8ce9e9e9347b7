/** Mounts block images on the host, as the guest would, for comparison. Needs root; everything is undone by `unmountAll`. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Why this host cannot mount images; undefined when it can. */
export function whyNoMounts(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root mounts';
  const filesystems = readFileSync('/proc/filesystems', 'utf8');
  for (const name of ['erofs', 'overlay']) {
    if (!filesystems.includes(`\t${name}\n`)) return `the kernel has no ${name}`;
  }
  return existsSync('/dev/loop-control') ? undefined : 'there are no loop devices';
}

/** Mounts below one directory. */
export class TestMounts {
  readonly #directory: string;
  readonly #mounted: string[] = [];

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Mounts block images, lowest first, as one read-only overlay; returns its path. */
  overlay(images: readonly string[]): string {
    const lowers = images.map((image) => this.#mount(['-t', 'erofs', '-o', 'loop,ro', image]));
    // overlayfs without a writable layer wants two lower ones.
    const empty = this.#directoryFor('empty');
    return this.#mount(['-t', 'overlay', 'overlay', '-o', `lowerdir=${[...lowers.toReversed(), empty].join(':')}`]);
  }

  /** Mounts a file system image read-write. */
  loop(image: string): string {
    return this.#mount(['-o', 'loop', image]);
  }

  unmountAll(): void {
    for (const path of this.#mounted.splice(0).toReversed()) {
      const { status, stderr } = spawnSync('umount', [path], { encoding: 'utf8' });
      if (status !== 0) throw new Error(`umount ${path}: ${stderr}`);
    }
  }

  #mount(args: readonly string[]): string {
    const path = this.#directoryFor('m');
    const { status, stderr } = spawnSync('mount', [...args, path], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`mount ${args.join(' ')}: ${stderr}`);
    this.#mounted.push(path);
    return path;
  }

  #count = 0;

  #directoryFor(kind: string): string {
    const path = join(this.#directory, `${kind}${this.#count++}`);
    mkdirSync(path, { recursive: true });
    return path;
  }
}
