/**
 * The volumes of one pod as kubelet makes them before its containers: in its places, in containerd's mount namespace, and
 * changed as it changes them.
 */
import { mkdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Containerd } from '../containerd.ts';

/** Volumes whose files kubelet writes, each version as a whole. Secrets and the like are in memory. */
type Written = 'configmap' | 'secret' | 'downward-api' | 'projected';

export class KubeletPod {
  /** Host path of the pod's directory. */
  readonly directory: string;
  readonly #containerd: Containerd;
  readonly #mounts: string[] = [];

  constructor(containerd: Containerd, uid: string) {
    this.#containerd = containerd;
    this.directory = join(containerd.directory, 'kubelet/pods', uid);
    mkdirSync(this.directory, { recursive: true });
  }

  /** `size`: makes it a volume in memory, of this many bytes (with a unit of tmpfs). */
  async emptyDir(name: string, size?: string): Promise<string> {
    const path = this.#volume('empty-dir', name);
    mkdirSync(path, { recursive: true });
    if (size !== undefined) await this.#mount(path, '-t', 'tmpfs', '-o', `size=${size},mode=777`, 'tmpfs');
    return path;
  }

  /** Makes a volume of files and the links to them. */
  async written(kind: Written, name: string, files: Readonly<Record<string, string>>): Promise<string> {
    const path = this.#volume(kind, name);
    mkdirSync(path, { recursive: true });
    if (kind !== 'configmap') await this.#mount(path, '-t', 'tmpfs', '-o', 'size=1m,mode=777', 'tmpfs');
    this.#writeVersion(path, 'first', files);
    for (const file of Object.keys(files)) symlinkSync(join('..data', file), this.#inside(path, file));
    return path;
  }

  /** Shows another version of all files of a volume by one rename, and removes the one before. */
  update(path: string, files: Readonly<Record<string, string>>): void {
    this.#writeVersion(path, 'second', files);
    rmSync(this.#inside(path, '..first'), { recursive: true });
  }

  /** A part of a volume, file or directory, at the place that kubelet binds it to for one mount of one start of a container. */
  async subPath(volume: string, part: string): Promise<string> {
    const place = join(this.directory, 'volume-subpaths', String(this.#mounts.length));
    const source = (await this.#containerd.namespaces.ok('readlink', '-f', join(volume, part))).trim();
    mkdirSync(dirname(place), { recursive: true });
    if (statSync(this.#inside(source)).isDirectory()) mkdirSync(place);
    else writeFileSync(place, '');
    await this.#mount(place, '--bind', source);
    return place;
  }

  /** A file beside the volumes. */
  file(name: string, text: string): string {
    const path = join(this.directory, name);
    writeFileSync(path, text);
    return path;
  }

  async remove(): Promise<void> {
    for (const path of this.#mounts.reverse()) await this.#containerd.namespaces.ok('umount', path);
    rmSync(this.directory, { recursive: true });
  }

  #volume(kind: Written | 'empty-dir', name: string): string {
    return join(this.directory, `volumes/kubernetes.io~${kind}`, name);
  }

  #writeVersion(path: string, version: string, files: Readonly<Record<string, string>>): void {
    mkdirSync(this.#inside(path, `..${version}`));
    for (const [file, text] of Object.entries(files)) writeFileSync(this.#inside(path, `..${version}`, file), text);
    symlinkSync(`..${version}`, this.#inside(path, '..data_tmp'));
    renameSync(this.#inside(path, '..data_tmp'), this.#inside(path, '..data'));
  }

  /** A path below what only that mount namespace sees. */
  #inside(...names: readonly string[]): string {
    return join(`/proc/${this.#containerd.namespaces.pid}/root`, ...names);
  }

  async #mount(path: string, ...args: readonly string[]): Promise<void> {
    await this.#containerd.namespaces.ok('mount', ...args, path);
    this.#mounts.push(path);
  }
}
