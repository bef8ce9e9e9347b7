/**
 * Real images for real clients, made from Debian packages by mmdebstrap: a base layer with redis, nginx and python3, and
 * one image of it per program. Cached by the day (the packages of a day are the same), because it takes half a minute.
 */
import { access, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { run } from '../../runtime/host/process.ts';
import { tarOf } from './layer-tar.ts';
import { type LayoutLayer, type WrittenLayout, writeLayout } from './oci-layout.ts';
import type { TestRegistry } from './registry.ts';

const PACKAGES = ['redis-server', 'nginx-light', 'python3-minimal'];
const SUITE = 'bookworm';
const BUILD_TIMEOUT_MS = 900_000;
const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Names of the images. */
export type DebianImage = 'redis' | 'nginx' | 'python3';

/** What each image adds to the base. */
const IMAGES: Readonly<
  Record<DebianImage, { readonly config: Readonly<Record<string, unknown>>; readonly layer: Buffer }>
> = {
  redis: {
    config: {
      Env: [PATH],
      Entrypoint: ['redis-server'],
      Cmd: ['--bind', '0.0.0.0', '--protected-mode', 'no', '--save', '', '--dir', '/data'],
      User: 'redis',
      WorkingDir: '/data',
      ExposedPorts: { '6379/tcp': {} },
      Volumes: { '/data': {} },
    },
    layer: tarOf([{ name: 'data/', type: '5', mode: 0o1777 }]),
  },
  nginx: {
    config: {
      Env: [PATH],
      Cmd: ['nginx', '-g', 'daemon off;'],
      ExposedPorts: { '80/tcp': {} },
      StopSignal: 'SIGQUIT',
    },
    layer: tarOf([
      { name: 'var/www/html/index.html', data: 'hello from nginx in its own machine\n' },
      { name: 'var/log/nginx/.wh.error.log' },
      { name: 'var/log/nginx/access.log', type: '2', link: '/dev/stdout' },
      { name: 'var/log/nginx/error.log', type: '2', link: '/dev/stderr' },
    ]),
  },
  python3: {
    config: {
      Env: [PATH, 'PYTHONUNBUFFERED=1'],
      Entrypoint: ['python3'],
      Cmd: ['-c', 'print("hello")'],
      WorkingDir: '/srv',
    },
    layer: tarOf([
      { name: 'srv/', type: '5' },
      { name: 'srv/sum.py', data: 'import sys\nprint(sum(int(word) for word in sys.stdin.read().split()))\n' },
    ]),
  },
};

/** Writes the layouts (`oci:` sources of skopeo) below `directory`. The base layer is the same in all. */
async function writeDebianImages(directory: string): Promise<Record<DebianImage, WrittenLayout>> {
  const packed = await readFile(await debianTar());
  const base: LayoutLayer = { tar: zstdDecompressSync(packed), packed, compression: 'zstd' };
  const write = (name: DebianImage): Promise<WrittenLayout> =>
    writeLayout(join(directory, name), [base, { tar: IMAGES[name].layer }], { config: IMAGES[name].config });
  return { redis: await write('redis'), nginx: await write('nginx'), python3: await write('python3') };
}

/** The images in a registry: their full names. */
export async function pushDebianImages(
  registry: TestRegistry,
  directory: string,
): Promise<Record<DebianImage, string>> {
  const layouts = await writeDebianImages(directory);
  return {
    redis: await registry.push(layouts.redis.source, 'debian/redis:latest'),
    nginx: await registry.push(layouts.nginx.source, 'debian/nginx:latest'),
    python3: await registry.push(layouts.python3.source, 'debian/python3:latest'),
  };
}

/** The base system as a tar, zstd; made when today's is not in the cache. */
export async function debianTar(): Promise<string> {
  const cache = process.env.TSKATA_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'tskata');
  const directory = join(cache, 'test-images');
  const path = join(directory, `${SUITE}-${new Date().toISOString().slice(0, 10)}.tar.zst`);
  if (await exists(path)) return path;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const work = `${path}.${process.pid}`;
  await mkdir(work);
  try {
    const tar = join(work, 'base.tar');
    const flags = [
      '--quiet',
      '--variant=minbase',
      `--include=${PACKAGES.join(',')}`,
      '--dpkgopt=path-exclude=/usr/share/doc/*',
      '--dpkgopt=path-exclude=/usr/share/man/*',
    ];
    await run('mmdebstrap', [...flags, SUITE, tar], { timeoutMs: BUILD_TIMEOUT_MS, env: { TMPDIR: work } });
    await run('zstd', ['-q', '-3', '--rm', tar], { timeoutMs: BUILD_TIMEOUT_MS });
    await rename(`${tar}.zst`, path);
    await writeFile(join(directory, 'README'), 'Base system of the test images, one file a day. Safe to delete.\n');
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return path;
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
