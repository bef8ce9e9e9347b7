/**
 * Images that a real containerd unpacked, by its overlayfs and its native snapshotter: what a container does to its root
 * has the same result as with runc, and containerd's own commands work on it.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Containerd } from '../../helpers/containerd.ts';
import { type TarPiece, tarOf } from '../../helpers/layer-tar.ts';
import { writeMeetProgram } from '../../helpers/meet-program.ts';
import { writeLayout } from '../../helpers/oci-layout.ts';
import type { Result } from '../../helpers/tskata.ts';

const IMAGE = 'tskata.test/layers:1';
const RUNTIMES = { runc: 'io.containerd.runc.v2', tskata: 'io.containerd.tskata.v2' };
const APPLETS = [
  ...['sh', 'cat', 'ls', 'stat', 'mv', 'cp', 'rm', 'ln', 'mkdir', 'chown', 'chmod', 'touch', 'dd', 'sync', 'seq', 'wc'],
  ...['xargs', 'mkfifo', 'mknod', 'readlink', 'find', 'sort', 'echo', 'true', 'sleep', 'du', 'head', 'cut', 'tr'],
];

/** What is done to the root; its output must be that of runc. */
const SCRIPT = `
exec 2>&1
ls -A / /data /data/dir | sort
stat -c '%n %h %u:%g %a %s %F' /data/one /data/two /data/suid /data/link /bin/busybox
readlink /data/link
ls /big | wc -l
echo new > /data/new; mv /data/new /data/renamed; cat /data/renamed
mv /data/keep /data/kept; cat /data/kept; ls /data/keep
ln /data/kept /data/again; stat -c %h /data/kept /data/again
echo more >> /data/two; sleep 2; cat /data/two; stat -c %s /data/two
chown 5:5 /data/two; sleep 2; stat -c %u:%g /data/two
rm -r /data/dir; ls /data/dir; mkdir /data/dir; ls -A /data/dir
mv /mid /middle; ls /middle | wc -l; ls /mid
chown 5:6 /data/suid; stat -c '%u:%g %a' /data/suid; chmod 6711 /data/suid; stat -c %a /data/suid
chown 5:6 /data/renamed; chmod 640 /data/renamed; stat -c '%u:%g %a' /data/renamed
touch -d '2001-02-03 04:05:06' /data/renamed; stat -c %Y /data/renamed
dd if=/dev/zero of=/data/zeros bs=4096 count=64 conv=fsync 2>/dev/null; sync; stat -c '%s' /data/zeros
dd if=/dev/zero of=/data/sparse bs=1 count=1 seek=1048575 2>/dev/null; stat -c %s /data/sparse; test $(stat -c %b /data/sparse) -lt 64 && echo sparse
/bin/meet poke /data/zeros; head -c1 /data/zeros; echo
mkfifo /data/fifo; stat -c %F /data/fifo
mkdir /data/many; cd /data/many; seq 200 | xargs touch; ls | wc -l; seq 200 | xargs rm; ls -A; cd /
: > /data/open; exec 7<> /data/open; rm /data/open; echo unlinked >&7; cat /proc/self/fd/7; exec 7<&-
rm -r /big; ls /big; mkdir /big; touch /big/only; ls /big
exit 7
`;

let containerd: Containerd;

beforeAll(async () => {
  containerd = await Containerd.start({ withoutImages: true });
  const { directory } = containerd;
  await writeMeetProgram(directory);
  const layout = join(directory, 'layout');
  mkdirSync(layout);
  await writeLayout(
    layout,
    layers(directory).map((tar) => ({ tar, compression: 'none' as const })),
    {
      containerdName: IMAGE,
      config: { Env: ['PATH=/bin'], Cmd: ['sh'], WorkingDir: '/' },
    },
  );
  execFileSync('tar', ['-C', layout, '-cf', join(directory, 'layers.tar'), '.']);
  for (const snapshotter of ['overlayfs', 'native']) {
    await ok('images', 'import', '--snapshotter', snapshotter, join(directory, 'layers.tar'));
  }
});

afterAll(() => containerd.dispose());

function layers(directory: string): Buffer[] {
  const directories = ['bin/', 'dev/', 'etc/', 'proc/', 'sys/', 'tmp/', 'data/', 'data/dir/', 'big/', 'mid/'];
  const files = (below: string, count: number): TarPiece[] =>
    Array.from({ length: count }, (_, index) => ({ name: `${below}/${index}`, data: `${index}\n` }));
  return [
    tarOf([
      ...directories.map((name) => ({ name, type: '5' })),
      { name: 'bin/busybox', mode: 0o755, data: readFileSync('/bin/busybox') },
      { name: 'bin/meet', mode: 0o755, data: readFileSync(join(directory, 'meet')) },
      ...APPLETS.map((name) => ({ name: `bin/${name}`, type: '2', link: 'busybox' })),
    ]),
    tarOf([
      { name: 'data/keep', data: 'kept\n' },
      { name: 'data/gone', data: 'gone\n' },
      { name: 'data/one', data: 'linked\n' },
      { name: 'data/two', type: '1', link: 'data/one' },
      { name: 'data/link', type: '2', link: 'dir/c' },
      { name: 'data/suid', mode: 0o4755, uid: 7, gid: 8, data: 'suid\n' },
      { name: 'data/dir/a', data: 'a' },
      { name: 'data/dir/b', data: 'b' },
      ...files('big', 1200),
      ...files('mid', 20),
    ]),
    tarOf([
      { name: 'data/.wh.gone' },
      { name: 'data/dir/', type: '5', mode: 0o700 },
      { name: 'data/dir/.wh..wh..opq' },
      { name: 'data/dir/c', data: 'c' },
    ]),
  ];
}

async function ok(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await containerd.ctr(args);
  if (status !== 0) throw new Error(`ctr ${args.join(' ')}: ${stderr}`);
  return stdout;
}

function run(runtime: keyof typeof RUNTIMES, snapshotter: string, line: string, ...flags: string[]): Promise<Result> {
  const id = `${runtime}-${snapshotter}`;
  const choice = ['--runtime', RUNTIMES[runtime], '--snapshotter', snapshotter];
  return containerd.ctr(['run', '--rm', ...choice, ...flags, IMAGE, id, 'sh', '-c', line], { timeoutMs: 170_000 });
}

test.each(['overlayfs', 'native'])('a root of %s behaves as with runc', { timeout: 240_000 }, async (snapshotter) => {
  const [expected, found] = [await run('runc', snapshotter, SCRIPT), await run('tskata', snapshotter, SCRIPT)];
  expect(expected.status).toBe(7);
  expect(found.stdout.split('\n')).toEqual(expected.stdout.split('\n'));
  expect(found.status).toBe(7);
  expect(found.stdout).toContain('1200\n');
});

test('the differences: no device is made on the host, hard links of a layer stay links', {
  timeout: 180_000,
}, async () => {
  const line =
    'mknod /data/disk b 7 0 || echo refused; mknod /data/null c 1 3 || echo refused; echo x >> /data/two; sleep 2; cat /data/one';
  const { stdout } = await run('tskata', 'overlayfs', line);
  expect(stdout).toBe('refused\nrefused\nlinked\nx\n');
});

test('what a container wrote is in its snapshot: diff, commit, and a next container', {
  timeout: 240_000,
}, async () => {
  const flags = ['--runtime', RUNTIMES.tskata, '--snapshotter', 'overlayfs'];
  await ok(
    'run',
    '-d',
    ...flags,
    IMAGE,
    'writer',
    'sh',
    '-c',
    'echo data > /data/written; rm /data/one; sync; echo up; sleep 1000',
  );
  const bundle = join(containerd.paths.state, 'io.containerd.runtime.v2.task/default/writer');
  const upper = (): string[] =>
    readdirSync(join(containerd.paths.root, 'io.containerd.snapshotter.v1.overlayfs/snapshots'), { recursive: true })
      .map(String)
      .filter((name) => name.endsWith('data/written'));
  for (let round = 0; round < 400 && upper().length === 0; round++)
    await new Promise((resolve) => setTimeout(resolve, 50));
  expect(upper()).toHaveLength(1);
  // The bundle's root is an empty directory for everybody but the keeper.
  expect(await containerd.namespaces.ok('ls', '-A', join(bundle, 'rootfs'))).toBe('');
  expect(await containerd.namespaces.ok('cat', '/proc/self/mountinfo')).not.toContain('/snapshots/');
  await ok('task', 'kill', '-s', 'SIGKILL', 'writer');
  await ok('task', 'rm', '-f', 'writer');
  await ok('snapshots', 'diff', '--keep', '--label', 'containerd.io/gc.root=1', 'writer');
  await ok('snapshots', 'commit', 'committed', 'writer');
  await ok('snapshots', 'prepare', 'next', 'committed');
  const mounts = await ok('snapshots', 'mounts', '/target', 'next');
  expect(mounts).toContain('lowerdir=');
  await ok('container', 'rm', 'writer');
  expect(existsSync(bundle)).toBe(false);
  await ok('snapshots', 'rm', 'next');
  await ok('snapshots', 'rm', 'committed');
});
