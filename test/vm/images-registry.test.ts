/**
 * The image store against a real registry: names, digests, platforms, credentials, sharing, concurrency, damage. And
 * images made of Debian packages, converted and compared with the archive that they were made from.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../runtime/host/process.ts';
import { ImageStore, type PullOptions } from '../../runtime/image/image-store.ts';
import { DEFAULT_LIMITS } from '../../runtime/image/limits.ts';
import { debianTar, pushDebianImages } from '../helpers/debian-images.ts';
import { tarOf } from '../helpers/layer-tar.ts';
import { sha256, writeLayout } from '../helpers/oci-layout.ts';
import { startRegistry, type TestRegistry } from '../helpers/registry.ts';

const PLAIN: PullOptions = { tlsVerify: false };
const DEBIAN_TIMEOUT_MS = 400_000;
/** bcrypt of "secret". */
const HTPASSWD = 'tester:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n';

let directory: string;
let registry: TestRegistry;
let root: string;
let count = 0;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tskata-pull-'));
  registry = await startRegistry();
});

afterAll(async () => {
  await registry?.stop();
  await rm(directory, { recursive: true, force: true });
});

beforeEach(() => {
  root = join(directory, `store${count++}`);
});

/** An image of small layers in the registry. */
async function push(
  name: string,
  texts: readonly string[],
  architecture?: string,
): Promise<{ name: string; manifest: string; layers: readonly string[] }> {
  const layers = texts.map((text, index) => ({
    tar: tarOf([{ name: `file${index}`, data: text }]),
    compression: (['gzip', 'zstd', 'none'] as const)[index % 3] ?? 'gzip',
  }));
  const layout = await writeLayout(join(directory, `layout-${name.replace(/\W/g, '-')}`), layers, {
    config: { Env: ['A=1'], Cmd: ['sh'] },
    ...(architecture === undefined ? {} : { architecture }),
  });
  return { name: await registry.push(layout.source, name), manifest: layout.manifest, layers: layout.layers };
}

async function filesOf(path: string): Promise<string[]> {
  return (await readdir(path)).filter((name) => !name.startsWith('.')).sort();
}

describe('pull from a registry', () => {
  it('stores verified blobs, an image, a name, and one block image per layer', async () => {
    const pushed = await push('app/one:v1', ['a', 'b', 'c']);
    const store = await ImageStore.open(root);
    const phases = new Set<string>();
    const { name, image } = await store.pull(pushed.name, { ...PLAIN, onProgress: ({ phase }) => phases.add(phase) });
    expect(name).toBe(pushed.name);
    expect(image.manifestDigest).toBe(pushed.manifest);
    expect(image.layers.map((layer) => layer.digest)).toEqual(pushed.layers);
    expect([...phases]).toEqual(['resolve', 'download', 'verify', 'convert', 'done']);
    for (const file of await filesOf(store.paths.blobs)) {
      expect(sha256(await readFile(join(store.paths.blobs, file)))).toBe(`sha256:${file}`);
    }
    const rootfs = await store.prepareRootfs(image);
    expect(rootfs.layers).toHaveLength(3);
    expect(rootfs.config).toMatchObject({ Env: ['A=1'], Cmd: ['sh'] });
    await rootfs.release();
    expect(await filesOf(store.paths.temporary)).toEqual([]);
    expect(await filesOf(store.paths.locks)).toEqual([]);
  });

  it('finds an image by name, digest and id, and shows what else it is asked for as missing', async () => {
    const pushed = await push('app/find:v1', ['x']);
    const store = await ImageStore.open(root);
    const { image } = await store.pull(pushed.name, PLAIN);
    const repository = `${registry.address}/app/find`;
    for (const text of [
      pushed.name,
      `docker://${pushed.name}`,
      `${repository}@${pushed.manifest}`,
      `${repository}:v1@${pushed.manifest}`,
      image.id,
      image.id.slice(7, 19),
    ]) {
      expect((await store.find(text))?.image.id, text).toBe(image.id);
    }
    expect(await store.find(`${repository}:v2`)).toBeUndefined();
    expect(await store.find('00000000')).toBeUndefined();
  });

  it('pulls by digest, and refuses a manifest that has another', async () => {
    const pushed = await push('app/digest:v1', ['by digest']);
    const store = await ImageStore.open(root);
    const { image } = await store.pull(`${registry.address}/app/digest@${pushed.manifest}`, PLAIN);
    expect(image.manifestDigest).toBe(pushed.manifest);
    await expect(store.pull(`${registry.address}/app/digest@sha256:${'0'.repeat(64)}`, PLAIN)).rejects.toThrow(
      /no such image or tag/,
    );
  });

  it('takes the image for this machine out of an index', async () => {
    const mine = await push('app/multi:mine', ['mine']);
    const other = await push('app/multi:other', ['other'], 'riscv64');
    const descriptor = async (pushed: { manifest: string }, tag: string, architecture: string): Promise<object> => {
      const bytes = await readFile(
        join(directory, `layout-app-multi-${tag}`, 'blobs/sha256', pushed.manifest.slice(7)),
      );
      return {
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        digest: pushed.manifest,
        size: bytes.length,
        platform: { os: 'linux', architecture },
      };
    };
    const architecture = process.arch === 'x64' ? 'amd64' : process.arch;
    const index = JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [await descriptor(other, 'other', 'riscv64'), await descriptor(mine, 'mine', architecture)],
    });
    const response = await fetch(`http://${registry.address}/v2/app/multi/manifests/all`, {
      method: 'PUT',
      headers: { 'content-type': 'application/vnd.oci.image.index.v1+json' },
      body: index,
    });
    expect(response.status).toBe(201);
    const store = await ImageStore.open(root);
    const { image } = await store.pull(`${registry.address}/app/multi:all`, PLAIN);
    expect(image.manifestDigest).toBe(mine.manifest);
    expect((await store.find(`${registry.address}/app/multi@${sha256(Buffer.from(index))}`))?.image.id).toBe(image.id);
    await expect(store.pull(`${registry.address}/app/multi:other`, PLAIN)).rejects.toThrow(/it is for linux\/riscv64/);
  });

  it('fetches a shared layer once, and keeps it while one image needs it', async () => {
    const first = await push('app/shared:1', ['base', 'top one']);
    const second = await push('app/shared:2', ['base', 'top two']);
    const store = await ImageStore.open(root);
    await store.pull(first.name, PLAIN);
    const sizes: number[] = [];
    await store.pull(second.name, {
      ...PLAIN,
      onProgress: ({ phase, total }) => phase === 'download' && sizes.push(total),
    });
    expect(await filesOf(store.paths.layers)).toHaveLength(6);
    // Of the second image only the upper layer and the configuration are fetched.
    expect(sizes[0]).toBeLessThan(700);
    await store.remove(first.name);
    expect((await store.list()).map(({ name }) => name)).toEqual([second.name]);
    expect(await filesOf(store.paths.layers)).toHaveLength(4);
    await store.remove(second.name);
    expect(await filesOf(store.paths.layers)).toEqual([]);
    expect(await filesOf(store.paths.blobs)).toEqual([]);
  });

  it('moves a tag, and leaves the old image without a name', async () => {
    const store = await ImageStore.open(root);
    const name = (await push('app/moving:latest', ['old'])).name;
    const old = await store.pull(name, PLAIN);
    await push('app/moving:latest', ['new']);
    const young = await store.pull(name, PLAIN);
    expect(young.image.id).not.toBe(old.image.id);
    expect((await store.list()).map((entry) => [entry.name, entry.image.id])).toEqual([
      [name, young.image.id],
      ['', old.image.id],
    ]);
    await store.remove(old.image.id);
    expect(await store.list()).toHaveLength(1);
  });
});

describe('at the same time', () => {
  it('several processes pull one image, and all have it', async () => {
    const pushed = await push('app/race:v1', ['r1', 'r2', 'r3', 'r4']);
    const script = `
      import { ImageStore } from ${JSON.stringify(new URL('../../runtime/image/image-store.ts', import.meta.url).href)};
      const store = await ImageStore.open(process.argv[1]);
      const pulled = await store.pull(process.argv[2], { tlsVerify: false });
      const rootfs = await store.prepareRootfs(pulled.image);
      console.log(pulled.image.id, rootfs.layers.length);
      await rootfs.release();`;
    const one = (): Promise<{ stdout: string }> =>
      promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, root, pushed.name], {
        timeout: 60_000,
      });
    const outputs = await Promise.all(Array.from({ length: 5 }, one));
    expect(new Set(outputs.map(({ stdout }) => stdout)).size).toBe(1);
    const store = await ImageStore.open(root);
    expect(await filesOf(store.paths.layers)).toHaveLength(8);
    expect(await readdir(store.paths.temporary)).toEqual([]);
    expect(await readdir(store.paths.locks)).toEqual([]);
  });

  it('removal does not take away what a pull under way needs', async () => {
    const first = await push('app/keep:1', ['same base', 'one']);
    const second = await push('app/keep:2', ['same base', 'two']);
    const store = await ImageStore.open(root);
    await store.pull(first.name, PLAIN);
    const [{ image }] = await Promise.all([store.pull(second.name, PLAIN), store.remove(first.name)]);
    const rootfs = await store.prepareRootfs(image);
    for (const layer of rootfs.layers) await readFile(layer);
    await rootfs.release();
    await store.prune();
    expect(await filesOf(store.paths.layers)).toHaveLength(4);
  });
});

describe('what goes wrong', () => {
  it('is told for names, registries and access', async () => {
    const store = await ImageStore.open(root);
    await expect(store.pull(`${registry.address}/app/nobody:v1`, PLAIN)).rejects.toThrow(/no such image or tag/);
    await expect(store.pull('127.0.0.1:1/app', PLAIN)).rejects.toThrow(/cannot be reached/);
    await expect(store.pull(`${registry.address}/app`, { tlsVerify: true })).rejects.toThrow(/--tls-verify=false/);
    await expect(store.pull('app/Upper')).rejects.toThrow(/repository names are lower case/);
    expect(await readdir(store.paths.temporary)).toEqual([]);
  });

  it('credentials are asked for, and go to skopeo in a file', async () => {
    const locked = await startRegistry({ htpasswd: HTPASSWD });
    try {
      const store = await ImageStore.open(root);
      await expect(store.pull(`${locked.address}/app`, PLAIN)).rejects.toThrow(/refuses access/);
      await expect(store.pull(`${locked.address}/app`, { ...PLAIN, credentials: 'tester:wrong' })).rejects.toThrow(
        /refuses access/,
      );
      await expect(store.pull(`${locked.address}/app`, { ...PLAIN, credentials: 'tester:secret' })).rejects.toThrow(
        /no such image/,
      );
    } finally {
      await locked.stop();
    }
  });

  it('credentials are found where skopeo finds them, each for its registry', async () => {
    const locked = await startRegistry({ htpasswd: HTPASSWD });
    const layout = await writeLayout(join(directory, 'locked'), [{ tar: tarOf([{ name: 'file', data: 'x' }]) }]);
    const authFile = join(directory, 'auth.json');
    const auth = Buffer.from('tester:secret').toString('base64');
    await writeFile(authFile, JSON.stringify({ auths: { [locked.address]: { auth } } }), { mode: 0o600 });
    try {
      const name = await locked.push(layout.source, 'app:v1', 'tester:secret');
      const pull = async (more: { authFile?: string; credentials?: string }) => {
        const store = await ImageStore.open(await mkdtemp(join(directory, 'store-')));
        return (await store.pull(name, { ...PLAIN, ...more })).image.manifestDigest;
      };
      await expect(pull({})).rejects.toThrow(/refuses access/);
      expect(await pull({ credentials: 'tester:secret' })).toBe(layout.manifest);
      expect(await pull({ authFile })).toBe(layout.manifest);
      process.env.REGISTRY_AUTH_FILE = authFile;
      expect(await pull({})).toBe(layout.manifest);
    } finally {
      delete process.env.REGISTRY_AUTH_FILE;
      await locked.stop();
    }
  });

  it('a blob that is damaged in the registry is never stored', async () => {
    const pushed = await push('app/damaged:v1', ['good', 'will be damaged']);
    const digest = pushed.layers[1]?.slice(7) ?? '';
    const path = join(registry.directory, 'docker/registry/v2/blobs/sha256', digest.slice(0, 2), digest, 'data');
    const bytes = await readFile(path);
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
    await writeFile(path, bytes);
    const store = await ImageStore.open(root);
    await expect(store.pull(pushed.name, PLAIN)).rejects.toThrow(/damaged/);
    await truncate(path, 10);
    await expect(store.pull(pushed.name, PLAIN)).rejects.toThrow(/pull/);
    expect(await filesOf(store.paths.blobs)).not.toContain(digest);
    expect(await store.list()).toEqual([]);
    expect(await readdir(store.paths.temporary)).toEqual([]);
  });

  it('a layer that unpacks beyond the limit is refused, and leaves nothing', async () => {
    const layout = await writeLayout(join(directory, 'bomb'), [
      { tar: tarOf([{ name: 'zeros', data: Buffer.alloc(8 * 1024 * 1024) }]) },
    ]);
    const name = await registry.push(layout.source, 'app/bomb:v1');
    const store = await ImageStore.open(root, { limits: { ...DEFAULT_LIMITS, layerStreamBytes: 1024 * 1024 } });
    await expect(store.pull(name, PLAIN)).rejects.toThrow(/unpacks to more than 1048576 bytes/);
    expect(await filesOf(store.paths.layers)).toEqual([]);
    expect(await readdir(store.paths.temporary)).toEqual([]);
  });

  it('a pull that is given up leaves nothing but whole blobs', async () => {
    const pushed = await push('app/abort:v1', ['one', 'two']);
    const store = await ImageStore.open(root);
    await expect(store.pull(pushed.name, { ...PLAIN, signal: AbortSignal.timeout(20) })).rejects.toThrow();
    expect(await readdir(store.paths.temporary)).toEqual([]);
    expect(await store.list()).toEqual([]);
    expect((await store.pull(pushed.name, PLAIN)).image.layers).toHaveLength(2);
  });
});

describe('images of Debian packages', () => {
  it('are pulled, share their base, and are whole', { timeout: DEBIAN_TIMEOUT_MS }, async () => {
    const names = await pushDebianImages(registry, join(directory, 'debian'));
    const store = await ImageStore.open(root);
    const images = [];
    for (const name of Object.values(names)) images.push((await store.pull(name, PLAIN)).image);
    const bases = new Set(images.map((image) => image.blocks.keys[0]));
    expect(bases.size).toBe(1);
    const [base] = bases;
    const tree = join(directory, 'tree');
    const archive = join(directory, 'archive');
    await mkdir(archive);
    await run('tar', ['--zstd', '-C', archive, '-xf', await debianTar(), './usr'], { timeoutMs: 60_000 });
    await run('fsck.erofs', [`--extract=${tree}`, store.paths.layer(base ?? '')], { timeoutMs: 60_000 });
    for (const path of ['usr/bin/redis-server', 'usr/sbin/nginx', 'usr/bin/python3.11']) {
      expect(await readFile(join(tree, path)), path).toEqual(await readFile(join(archive, path)));
    }
    expect(images[0]?.config.Entrypoint).toEqual(['redis-server']);
  });
});
