/**
 * Owns: the first root file system of the KVM host: busybox, the modules without which the shared root cannot be
 * reached, the script that gets there, and the job of this run. Everything else comes from the shared root.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type CpioEntry, writeCpio } from '../../guest-kernel/cpio.ts';
import type { HostKernel } from './kernel.ts';

/** Roots of the tree of dependencies; the rest is loaded by modprobe once the shared root is there. */
const MODULES = ['virtio_pci', 'virtio_console', 'virtiofs', 'overlay'];
const BUSYBOX = '/bin/busybox';

/** What the host is to do. */
export interface Job {
  /** Directory that the host works in. */
  readonly checkout: string;
  /** Shell lines; the host ends with them. */
  readonly script: string;
}

/** The job, and what the host's first programs need besides; each entry becomes a file /job/NAME. */
type JobFiles = Job & {
  /** Directory of the kernel's modules. */
  readonly modules: string;
  /** Names of modules, a line each. */
  readonly load: string;
  /** Directory of downloads. */
  readonly cache: string;
  /** Directories that stay in sight although the host covers what holds them (/tmp), a line each. */
  readonly keep: string;
};

/** Writes the archive. */
export async function buildHostInitrd(kernel: HostKernel, job: JobFiles, outFile: string): Promise<void> {
  const paths = await moduleOrder(kernel);
  const entries: CpioEntry[] = ['bin', 'dev', 'proc', 'sys', 'modules', 'job', 'keep', 'lower', 'upper', 'root'].map(
    (path) => ({
      kind: 'directory',
      path,
      mode: 0o755,
    }),
  );
  entries.push({ kind: 'char-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 });
  entries.push({ kind: 'file', path: 'bin/busybox', mode: 0o755, data: await readFile(BUSYBOX) });
  for (const [index, path] of paths.entries()) {
    // The order of loading is the order of names.
    const name = `${String(index).padStart(2, '0')}-${basename(path)}`;
    entries.push({ kind: 'file', path: `modules/${name}`, mode: 0o644, data: await readFile(path) });
  }
  for (const [name, text] of Object.entries(job)) {
    entries.push({ kind: 'file', path: `job/${name}`, mode: 0o644, data: Buffer.from(text) });
  }
  const script = await readFile(join(import.meta.dirname, 'guest/init.sh'));
  entries.push({ kind: 'file', path: 'init', mode: 0o755, data: script });
  await writeFile(outFile, writeCpio(entries));
}

/** Files of the modules and of all they depend on, each after its dependencies. */
async function moduleOrder(kernel: HostKernel): Promise<string[]> {
  const index = await readFile(join(kernel.modules, 'modules.dep'), 'utf8');
  const found: string[] = [];
  for (const wanted of MODULES) {
    const line = index.split('\n').find((text) => moduleName(text.split(':')[0] ?? '') === wanted);
    if (line === undefined)
      throw new Error(`build the initrd of the KVM host: ${kernel.release} has no module ${wanted}`);
    const [file = '', dependencies = ''] = line.split(':');
    // depmod lists the dependencies of a module with the deepest last.
    const chain = [file, ...dependencies.trim().split(' ').filter(Boolean)].reverse();
    for (const path of chain) if (!found.includes(path)) found.push(path);
  }
  return found.map((path) => join(kernel.modules, path));
}

function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko.*$/, '')
    .replaceAll('-', '_');
}
