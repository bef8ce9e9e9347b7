/**
 * Images as a person uses them: pulled from a registry by name, run in machines, used by real clients. And images of
 * many layers, whose trees in the guest are compared with what umoci unpacks on the host.
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../runtime/host/process.ts';
import { type DebianImage, pushDebianImages } from '../helpers/debian-images.ts';
import { tarOf } from '../helpers/layer-tar.ts';
import { writeLayout } from '../helpers/oci-layout.ts';
import { randomLayers } from '../helpers/random-layers.ts';
import { startRegistry, type TestRegistry } from '../helpers/registry.ts';
import { eventually, Tskata } from '../helpers/tskata.ts';

/** The base system is made by mmdebstrap when today's is not cached. */
const SET_UP_MS = 400_000;
const TEST_MS = 150_000;
const READY_MS = 60_000;

let tskata: Tskata;
let registry: TestRegistry;

beforeAll(async () => {
  tskata = new Tskata();
  registry = await startRegistry();
}, SET_UP_MS);

afterAll(async () => {
  await registry?.stop();
  tskata?.dispose();
});

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

describe('images of Debian packages', () => {
  let names: Record<DebianImage, string>;

  beforeAll(async () => {
    names = await pushDebianImages(registry, join(tskata.directory, 'debian'));
    for (const name of Object.values(names)) await tskata.ok('pull', '--tls-verify=false', '-q', name);
  }, SET_UP_MS);

  /** A container with one published port, until the work is done. */
  async function serving(name: DebianImage, port: number, work: (hostPort: number) => Promise<void>): Promise<void> {
    const hostPort = await freePort();
    const id = await tskata.ok('run', '-d', '-p', `127.0.0.1:${hostPort}:${port}`, names[name]);
    try {
      await work(hostPort);
      // The image of a living container stays.
      const removal = await tskata.call(['rmi', names[name]]);
      expect(removal.status).toBe(1);
      expect(removal.stderr).toContain(`it is used by ${id.slice(0, 12)}`);
    } catch (error) {
      const { stdout, stderr } = await tskata.call(['logs', id]);
      throw new Error(`${(error as Error).message}; log: ${stdout}${stderr}`);
    } finally {
      await tskata.ok('rm', '-f', id);
    }
  }

  it('redis answers redis-cli, as the user that its image names', { timeout: TEST_MS }, async () => {
    await serving('redis', 6379, async (port) => {
      const client = async (...words: string[]): Promise<string> => {
        const { stdout } = await promisify(execFile)('redis-cli', ['-p', `${port}`, ...words], { timeout: 10_000 });
        return stdout.trim();
      };
      await eventually(async () => (await client('ping').catch(() => '')) === 'PONG', READY_MS, 'redis answers');
      expect(await client('set', 'key', 'x'.repeat(100_000))).toBe('OK');
      expect(await client('strlen', 'key')).toBe('100000');
      expect(await client('config', 'get', 'dir')).toContain('/data');
      expect(await client('save')).toBe('OK');
    });
  });

  it('nginx serves the page of its upper layer', { timeout: TEST_MS }, async () => {
    await serving('nginx', 80, async (port) => {
      const get = (path: string): Promise<Response> =>
        fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(10_000) });
      await eventually(async () => (await get('/').catch(() => undefined))?.ok === true, READY_MS, 'nginx answers');
      expect(await (await get('/')).text()).toBe('hello from nginx in its own machine\n');
      expect((await get('/none')).status).toBe(404);
    });
  });

  it('python runs a program from its image on standard input', { timeout: TEST_MS }, async () => {
    const result = await tskata.call(['run', '--rm', '-i', names.python3, 'sum.py'], { input: '1 2 3 40\n' });
    expect(result).toMatchObject({ status: 0, stdout: '46\n' });
  });
});

describe('images of many layers in a machine', () => {
  const SHELL = [
    { name: 'bin/sh', type: '2', link: 'busybox' },
    { name: 'tmp/', type: '5', mode: 0o1777 },
  ];
  /**
   * Type, mode and owner of every path; of all but directories also size, time, device and target; content of files. Not
   * the number of links: overlayfs counts those names of a lower inode that an upper layer took away, everywhere.
   */
  const LISTING = [
    'cd /; for d in a b c d e f; do [ -e $d ] || [ -L $d ] || continue; /bin/busybox find $d; done | /bin/busybox sort > /tmp/names;',
    'while read -r n; do if [ -d "$n" ] && [ ! -L "$n" ]; then /bin/busybox stat -c "%n %f %u %g" "$n";',
    'else /bin/busybox stat -c "%n %f %u %g %s %Y %t %T %N" "$n"; fi;',
    'if [ -f "$n" ] && [ ! -L "$n" ]; then /bin/busybox md5sum "$n"; fi; done < /tmp/names',
  ].join(' ');

  it.each([
    [1, 31],
    [8, 32],
    [9, 33],
    [120, 34],
  ])('%i of them give the tree that umoci unpacks (seed %i)', { timeout: TEST_MS }, async (count, seed) => {
    const busybox = { name: 'bin/busybox', mode: 0o755, data: await readFile('/bin/busybox') };
    const [first = tarOf([]), ...others] = randomLayers(seed, count);
    // The lowest layer has the shell too: entries before the two blocks of zeros that end an archive.
    const lowest = Buffer.concat([tarOf([busybox, ...SHELL]).subarray(0, -1024), first]);
    const name = `many:${count}`;
    const layout = await writeLayout(
      join(tskata.directory, `layers${count}`),
      [lowest, ...others].map((tar) => ({ tar })),
    );
    await tskata.ok('load', '--name', name, layout.directory);
    const guest = await tskata.call(['run', '--rm', name, '/bin/busybox', 'sh', '-c', LISTING]);
    expect(guest.stderr).toBe('');
    const bundle = join(tskata.directory, `bundle${count}`);
    await run('umoci', ['unpack', '--image', `${layout.directory}:latest`, bundle], { timeoutMs: TEST_MS });
    const host = await run('chroot', [join(bundle, 'rootfs'), '/bin/busybox', 'sh', '-c', LISTING], {
      timeoutMs: TEST_MS,
      env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
    });
    const lines = guest.stdout.trimEnd().split('\n');
    expect(lines).toEqual(host.stdout.split('\n'));
    expect(lines.length).toBeGreaterThan(2);
  });
});
