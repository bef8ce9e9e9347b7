/**
 * Owns: getting Debian's kernel for cloud machines, which has KVM, vhost and everything a host needs as modules. The
 * package is downloaded by apt and unpacked into the cache, never installed. Refuses to know what is done with it.
 */
import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

const PACKAGE = 'linux-image-cloud-amd64';
const DOWNLOAD_TIMEOUT_MS = 300_000;
const TOOL_TIMEOUT_MS = 60_000;

/** An unpacked kernel. */
export interface HostKernel {
  /** "6.1.0-56-cloud-amd64". */
  readonly release: string;
  /** Compressed image. */
  readonly image: string;
  /** Directory of modules with the index of modprobe. */
  readonly modules: string;
}

/** Where downloads are kept, on this machine and in the host. */
export function cacheDirectory(): string {
  const { TSKATA_CACHE, XDG_CACHE_HOME } = process.env;
  return TSKATA_CACHE || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'tskata');
}

/** Finds the kernel in the cache, or downloads it. A new version in the package lists is a new entry. */
export async function findHostKernel(): Promise<HostKernel> {
  const dependencies = await tool('apt-cache', ['depends', PACKAGE]);
  const image = /Depends: (linux-image-(\S+))/.exec(dependencies);
  if (!image?.[1] || !image[2]) throw new Error(`find the kernel of the KVM host: apt knows no ${PACKAGE}`);
  const version = /^Version: (\S+)/m.exec(await tool('apt-cache', ['show', '--no-all-versions', image[1]]))?.[1];
  if (version === undefined) throw new Error(`find the kernel of the KVM host: apt says no version of ${image[1]}`);
  const part = join(cacheDirectory(), 'kvm-host-kernel');
  const directory = join(part, `${image[2]}_${version}`);
  const there = await access(directory).then(
    () => true,
    () => false,
  );
  if (!there) await download(image[1], part, directory);
  const modules = join(directory, 'lib/modules', image[2]);
  return { release: image[2], image: join(directory, 'boot', `vmlinuz-${image[2]}`), modules };
}

/** Complete or not there at all: the name is given last. */
async function download(name: string, part: string, directory: string): Promise<void> {
  await mkdir(part, { recursive: true });
  const work = await mkdtemp(join(part, 'new-'));
  try {
    // apt runs its downloads as another user unless told otherwise, who may not enter the cache.
    await execute('apt-get', ['-o', 'APT::Sandbox::User=root', '-q=2', 'download', name], {
      cwd: work,
      timeout: DOWNLOAD_TIMEOUT_MS,
    });
    const file = (await readdir(work)).find((entry) => entry.endsWith('.deb'));
    if (file === undefined) throw new Error(`download ${name}: apt-get left no package`);
    const tree = join(work, 'tree');
    await tool('dpkg-deb', ['-x', join(work, file), tree]);
    for (const release of await readdir(join(tree, 'lib/modules'))) await tool('depmod', ['-b', tree, release]);
    await rename(tree, directory).catch(async (error: NodeJS.ErrnoException) => {
      // Another run was first.
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function tool(program: string, args: readonly string[]): Promise<string> {
  const { stdout } = await execute(program, [...args], { timeout: TOOL_TIMEOUT_MS });
  return stdout;
}
