/**
 * Images of Debian packages from a real registry, used as their users use them: redis by redis-cli, nginx by curl over a
 * published port, python3 by its standard input. And an image of 120 layers.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DebianImage, pushDebianImages } from '../../helpers/debian-images.ts';
import { tarOf } from '../../helpers/layer-tar.ts';
import { writeLayout } from '../../helpers/oci-layout.ts';
import { startRegistry, type TestRegistry } from '../../helpers/registry.ts';
import { eventually, Tskata } from '../../helpers/tskata.ts';

const execute = promisify(execFile);
const IMAGES_TIMEOUT_MS = 400_000;
const CLIENT_TIMEOUT_MS = 10_000;
const LAYERS = 120;

describe('real images', () => {
  let tskata: Tskata;
  let registry: TestRegistry;
  let directory: string;
  let names: Record<DebianImage, string>;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'tskata-real-'));
    registry = await startRegistry();
    names = await pushDebianImages(registry, directory);
    tskata = new Tskata();
    for (const name of Object.values(names)) await tskata.ok('pull', '--tls-verify=false', name);
  }, IMAGES_TIMEOUT_MS);

  afterAll(async () => {
    await registry?.stop();
    await rm(directory, { recursive: true, force: true });
    tskata?.dispose();
  });

  /** Output of a host program, empty while it fails. */
  const client = async (program: string, ...args: string[]): Promise<string> => {
    const result = await execute(program, args, { timeout: CLIENT_TIMEOUT_MS }).catch(() => ({ stdout: '' }));
    return result.stdout;
  };

  it('redis keeps what redis-cli tells it, as the user of the image', async () => {
    const port = await freePort();
    const id = await tskata.ok('run', '-d', '--name', 'redis', '-p', `127.0.0.1:${port}:6379`, names.redis);
    const redis = (...args: string[]) => client('redis-cli', '-h', '127.0.0.1', '-p', String(port), ...args);
    await eventually(async () => (await redis('ping')) === 'PONG\n', 30_000, 'redis answers');
    expect(await redis('set', 'key', 'value')).toBe('OK\n');
    expect(await redis('get', 'key')).toBe('value\n');
    expect(await tskata.ok('exec', id, 'redis-cli', 'get', 'key')).toBe('value');
    expect(await tskata.ok('exec', id, 'id', '-un')).toBe('redis');
    await client(
      'redis-benchmark',
      '-h',
      '127.0.0.1',
      '-p',
      String(port),
      '-n',
      '500',
      '-c',
      '10',
      '-q',
      '-t',
      'set,get',
    );
    expect(await redis('ping')).toBe('PONG\n');
    await tskata.ok('stop', id);
    await tskata.ok('rm', id);
  });

  it('nginx serves curl, and stops by the signal of the image', async () => {
    const port = await freePort();
    const id = await tskata.ok('run', '-d', '-p', `127.0.0.1:${port}:80`, names.nginx);
    const curl = () => client('curl', '-sf', '-m', '5', `http://127.0.0.1:${port}/`);
    await eventually(async () => (await curl()).startsWith('hello from nginx'), 30_000, 'nginx answers');
    expect(await tskata.ok('logs', id)).toContain('"GET / HTTP/1.1" 200');
    await tskata.ok('stop', id);
    const [row] = JSON.parse(await tskata.ok('list', '--json')) as { exitStatus: number }[];
    expect(row?.exitStatus).toBe(0);
    await tskata.ok('rm', id);
  });

  it('python3 adds up what it reads', async () => {
    const result = await tskata.call(['run', '--rm', '-i', names.python3, 'sum.py'], { input: '1 2 3\n40\n' });
    expect(result).toMatchObject({ status: 0, stdout: '46\n', stderr: '' });
  });

  it(`runs an image of ${LAYERS} layers, the uppermost on top`, async () => {
    const layers = Array.from({ length: LAYERS }, (_, index) => ({
      tar: tarOf([
        { name: 'n', data: String(index) },
        { name: `f${index}`, data: 'x' },
        ...(index % 2 === 1 ? [{ name: `.wh.f${index - 1}` }] : []),
      ]),
    }));
    const base = { tar: tarOf([{ name: 'bin/', type: '5' as const }, busybox()]) };
    const layout = await writeLayout(join(directory, 'many'), [base, ...layers.slice(1)], { config: {} });
    const name = await registry.push(layout.source, 'many:latest');
    await tskata.ok('pull', '--tls-verify=false', name);
    const result = await tskata.call([
      'run',
      '--rm',
      name,
      '/bin/busybox',
      'sh',
      '-c',
      'busybox cat /n; busybox ls -d /f* | busybox wc -l',
    ]);
    // Of every pair one file is whited out; the first pair has lost its lower half with layer 0.
    expect(result).toMatchObject({ status: 0, stdout: `${LAYERS - 1}${LAYERS / 2}\n` });
  });
});

function busybox(): { readonly name: string; readonly mode: number; readonly data: Buffer } {
  return { name: 'bin/busybox', mode: 0o755, data: readFileSync('/bin/busybox') };
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
