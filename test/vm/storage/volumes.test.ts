/**
 * Volumes as kubelet and CRI give them, in one pod with several containers: who sees what, when, and what is refused.
 */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeMeetProgram } from '../../helpers/meet-program.ts';
import type { TestContainer, TestMount } from '../../helpers/pod-bundle.ts';
import { PodShim } from '../../helpers/pod-shim.ts';
import { eventually } from '../../helpers/tskata.ts';

/** A write on one side is seen by a fresh open on the other after this time at the latest. */
const SEEN_MS = 1_500;
/** And this long it may take to ask. */
const ASK_MS = 10_000;

let pod: PodShim;
let kubelet: string;
let volumes: string;

/** Mounts a tmpfs on a new directory of the host. */
function tmpfs(path: string, options = 'size=8m', mode = 0o777): string {
  mkdirSync(path, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `${options},mode=${mode.toString(8)}`, 'tmpfs', path]);
  pod.atEnd(() => execFileSync('umount', ['-R', path]));
  return path;
}

function directory(path: string, files: Record<string, string> = {}): string {
  mkdirSync(path, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}

const bind = (source: string, destination: string, ...options: string[]): TestMount => ({
  destination,
  type: 'bind',
  source,
  options: ['rbind', 'rprivate', ...options],
});

const range = (containerID: number, hostID: number, size: number) => ({ containerID, hostID, size });

/** A config map as kubelet writes it: files behind ..data, which is swapped as a whole. */
function writeConfigMap(path: string, version: string): void {
  directory(join(path, `..${version}`), { key: `${version}\n` });
  symlinkSync(`..${version}`, join(path, '..data_tmp'));
  renameSync(join(path, '..data_tmp'), join(path, '..data'));
}

beforeAll(async () => {
  pod = new PodShim();
  kubelet = join(pod.directory, 'kubelet/pods/0b5c');
  volumes = join(kubelet, 'volumes');
  const work = directory(join(volumes, 'kubernetes.io~empty-dir/work'));
  await writeMeetProgram(work);
  const memory = tmpfs(join(volumes, 'kubernetes.io~empty-dir/memory'), 'size=3m,gid=2000', 0o2777);
  directory(join(memory, 'sub/deep'));
  execFileSync('chmod', ['2750', join(memory, 'sub/deep')]);
  const part = directory(join(kubelet, 'volume-subpaths/memory/b/0'));
  execFileSync('mount', ['--bind', join(memory, 'sub/deep'), part]);
  pod.atEnd(() => execFileSync('umount', [part]));
  const config = tmpfs(join(volumes, 'kubernetes.io~configmap/config'));
  writeConfigMap(config, 'one');
  symlinkSync('..data/key', join(config, 'key'));
  const secret = tmpfs(join(volumes, 'kubernetes.io~secret/token'));
  directory(secret, { token: 'hush' });
  const shm = tmpfs(join(pod.directory, 'sandboxes/shm'), 'size=5m,nosuid,nodev,noexec', 0o1777);
  const host = directory(join(pod.directory, 'host'), { file: 'one file\n', 'resolv.conf': 'nameserver 10.0.0.1\n' });
  directory(join(host, 'inner'), { below: 'x' });
  writeFileSync(join(kubelet, 'termination-log'), '');
  const common = [bind(work, '/work'), bind(memory, '/memory'), bind(shm, '/dev/shm')];
  await pod.start('pause', { mounts: [bind(shm, '/dev/shm', 'ro')] });
  await pod.start('a', {
    mounts: [
      ...common,
      bind(config, '/config', 'ro'),
      bind(secret, '/run/secrets/kubernetes.io/serviceaccount', 'ro'),
      bind(host, '/host', 'ro'),
      bind(join(host, 'file'), '/etc/file'),
      bind(join(host, 'resolv.conf'), '/etc/resolv.conf'),
      bind(join(kubelet, 'termination-log'), '/dev/termination-log'),
      { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      {
        destination: '/sys/fs/cgroup',
        type: 'cgroup',
        source: 'cgroup',
        options: ['nosuid', 'noexec', 'nodev', 'relatime', 'ro'],
      },
    ],
    capabilities: ['CAP_SYS_ADMIN'],
  });
  await pod.start('b', {
    mounts: [bind(work, '/shared', 'ro'), bind(memory, '/memory'), bind(part, '/part'), bind(shm, '/dev/shm')],
  });
});

afterAll(async () => {
  await pod.dispose();
});

test('an emptyDir is on the host, where its size is counted', async () => {
  await pod.sh('a', 'dd if=/dev/zero of=/work/megabyte bs=64k count=16 2>/dev/null; chown 5:2000 /work/megabyte; sync');
  const path = join(volumes, 'kubernetes.io~empty-dir/work');
  expect(execFileSync('stat', ['-c', '%s %u:%g', join(path, 'megabyte')], { encoding: 'utf8' })).toBe(
    '1048576 5:2000\n',
  );
  expect(await pod.sh('b', 'wc -c < /shared/megabyte; touch /shared/x || echo refused')).toMatch(
    /1048576[\s\S]*refused/,
  );
});

test('sockets, locks and mapped memory meet in it, though one container may only read', async () => {
  writeFileSync(join(volumes, 'kubernetes.io~empty-dir/work/page'), Buffer.alloc(4096));
  const listening = pod.sh('a', '/work/meet listen /work/socket');
  await pod.sh('a', 'until test -S /work/socket; do sleep 0.05; done');
  await pod.sh('b', '/shared/meet send /shared/socket hello');
  expect(await listening).toBe('listening\nhello');
  const mapped = pod.sh('b', '/shared/meet map /shared/page');
  await pod.sh('a', '/work/meet poke /work/page');
  expect(await mapped).toBe('mapped\nseen');
  const lock = '/work/meet lock /work/page > /work/lock & until grep -q held /work/lock; do sleep 0.05; done; echo $!';
  const holder = await pod.sh('a', lock);
  expect(await pod.sh('b', '/shared/meet try /shared/page')).toBe('busy');
  await pod.sh('a', `kill ${holder}`);
  await eventually(async () => (await pod.sh('b', '/shared/meet try /shared/page')) === 'free', ASK_MS, 'a free lock');
});

test('volumes of several file systems are several devices, each the same in all containers', async () => {
  const devices = async (id: string, ...paths: string[]): Promise<string[]> =>
    (await pod.sh(id, `stat -c %d ${paths.join(' ')}`)).split('\n');
  const found = await devices('a', '/', '/work', '/config', '/run/secrets/kubernetes.io/serviceaccount', '/host');
  expect(new Set(found).size).toBe(found.length);
  expect(await devices('b', '/shared')).toEqual([found[1]]);
});

test("one in memory is a tmpfs of the guest, of the host's size, for all containers, and outlives each", async () => {
  const facts = "df -k /memory | tail -1 | tr -s ' ' | cut -d' ' -f1,2; stat -c '%a %u:%g' /memory";
  expect(await pod.sh('a', facts)).toBe('tmpfs 3072\n2777 0:2000');
  await pod.sh('a', 'echo kept > /memory/file; echo part > /memory/sub/deep/file');
  expect(await pod.sh('b', "cat /memory/file /part/file; stat -c '%a %u:%g' /part")).toBe('kept\npart\n2750 0:2000');
  expect(readdirSync(join(volumes, 'kubernetes.io~empty-dir/memory'))).toEqual(['sub']);
  expect(readdirSync(join(volumes, 'kubernetes.io~empty-dir/memory/sub/deep'))).toEqual([]);
  await pod.remove('b');
  const memory = join(volumes, 'kubernetes.io~empty-dir/memory');
  expect((await pod.run('cat /m/file', { mounts: [bind(memory, '/m', 'ro')] })).output).toBe('kept\n');
});

test("/dev/shm is memory of the pod, with the size and the limits of the host's", async () => {
  const facts =
    "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f1,2; stat -c %a /dev/shm; grep ' /dev/shm ' /proc/mounts";
  expect(await pod.sh('a', facts)).toMatch(/^tmpfs 5120\n1777\ntmpfs \/dev\/shm tmpfs rw,nosuid,nodev,noexec,/);
  await pod.sh('a', 'echo posix > /dev/shm/object');
  expect(await pod.sh('pause', 'cat /dev/shm/object; touch /dev/shm/x || echo refused')).toMatch(
    /^posix\n[\s\S]*refused$/,
  );
  expect(readdirSync(join(pod.directory, 'sandboxes/shm'))).toEqual([]);
});

test('a config map is seen as a whole after an update; a secret is read-only data of the host', async () => {
  expect(await pod.sh('a', 'cat /config/key /run/secrets/kubernetes.io/serviceaccount/token')).toBe('one\nhush');
  // What the guest has read must not hide a change.
  const watching = pod.sh(
    'a',
    'i=0; until grep -q two /config/key; do i=$((i + 1)); sleep 0.05; done; readlink /config/..data',
  );
  await pod.sh('a', 'cat /config/key');
  const began = performance.now();
  writeConfigMap(join(volumes, 'kubernetes.io~configmap/config'), 'two');
  expect(await watching).toBe('..two');
  expect(performance.now() - began).toBeLessThan(SEEN_MS + ASK_MS);
  expect(
    (await pod.exec('a', 'echo x > /config/key; echo x > /run/secrets/kubernetes.io/serviceaccount/y')).output,
  ).toMatch(/Read-only[\s\S]*Read-only/);
});

test("files: what is written arrives, also below /dev; kernel file systems are the guest's", async () => {
  expect(await pod.sh('a', 'cat /etc/file /etc/resolv.conf; echo done > /dev/termination-log')).toBe(
    'one file\nnameserver 10.0.0.1',
  );
  expect(readFileSync(join(kubelet, 'termination-log'), 'utf8')).toBe('done\n');
  appendFileSync(join(pod.directory, 'host/resolv.conf'), 'nameserver 10.0.0.2\n');
  await eventually(async () => (await pod.sh('a', 'cat /etc/resolv.conf')).includes('10.0.0.2'), ASK_MS, 'the change');
  const types = "cut -d' ' -f2,3 /proc/mounts | grep -E '^(/dev/mqueue|/sys|/sys/fs/cgroup) '";
  expect((await pod.sh('a', types)).split('\n').sort()).toEqual([
    '/dev/mqueue mqueue',
    '/sys sysfs',
    '/sys/fs/cgroup cgroup2',
  ]);
});

test('what is read-only is so by the host, whatever root in the guest does to its own mounts', async () => {
  const { output } = await pod.exec(
    'a',
    'mount -o remount,rw,bind /host && echo remounted; echo x > /host/file; echo x > /host/inner/x',
    ['CAP_SYS_ADMIN'],
  );
  expect(output).toMatch(/^remounted\n[\s\S]*Read-only[\s\S]*Read-only/);
  expect(readFileSync(join(pod.directory, 'host/file'), 'utf8')).toBe('one file\n');
});

test('a later mount of the host shows up where it was asked for, and nowhere else', async () => {
  const base = tmpfs(join(pod.directory, 'propagated'));
  execFileSync('mount', ['--make-shared', base]);
  mkdirSync(join(base, 'inner'));
  await pod.start('follows', {
    mounts: [{ ...bind(base, '/follows'), options: ['rbind', 'rslave'] }, bind(base, '/private')],
  });
  expect(await pod.sh('follows', 'ls /follows/inner /private/inner')).toBe('/follows/inner:\n\n/private/inner:');
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', join(base, 'inner')]);
  writeFileSync(join(base, 'inner/late'), 'late\n');
  await eventually(
    async () => (await pod.exec('follows', 'cat /follows/inner/late')).status === 0,
    ASK_MS,
    'the mount',
  );
  expect(await pod.sh('follows', 'ls /private/inner')).toBe('');
  await pod.remove('follows');
});

test('mapped ids: of the mount itself, of the user namespace, and of what is mounted below', async () => {
  const path = directory(join(pod.directory, 'mapped'), { file: 'text' });
  directory(tmpfs(join(path, 'below')), { deep: 'text' });
  const mappings = { uidMappings: [range(0, 1000, 100)], gidMappings: [range(0, 2000, 100)] };
  const look = 'stat -c "%u:%g" /x/file /x/below/deep; touch /x/made; stat -c "%u:%g" /x/made';
  const mapped = async (mount: TestMount, line: string, more: TestContainer = {}): Promise<string> => {
    const { output } = await pod.run(line, { ...more, mounts: [mount] });
    return output;
  };
  // Nobody but ids of the mapping can own what is made.
  const asUser = `chown 1003:2004 /x/file && ${look}`;
  expect(await mapped({ ...bind(path, '/x', 'idmap'), ...mappings }, asUser)).toMatch(/^1003:2004\n0:0\ntouch: .*/);
  expect(statSync(join(path, 'file'))).toMatchObject({ uid: 3, gid: 4 });
  expect(await mapped({ ...bind(path, '/x', 'ridmap'), ...mappings }, look)).toMatch(/^1003:2004\n1000:2000\ntouch/);
  expect(existsSync(join(path, 'made'))).toBe(false);
  // The other way round than the namespace: its root is the owner, and what it makes belongs to the host's root.
  const idMappings = [range(0, 100_000, 65_536)];
  chownSync(join(path, 'file'), 0, 0);
  expect(await mapped(bind(path, '/x', 'ridmap'), look, { idMappings })).toBe('0:0\n0:0\n0:0\n');
  expect(statSync(join(path, 'made'))).toMatchObject({ uid: 0, gid: 0 });
  // Without, they are nobody's.
  expect(await mapped(bind(path, '/x'), 'stat -c "%u:%g" /x/file', { idMappings })).toBe('65534:65534\n');
});

test('what cannot be shared is refused with its place, and leaves nothing', async () => {
  const path = directory(join(pod.directory, 'refused'));
  const server = createServer().listen(join(path, 'docker.sock'));
  execFileSync('mknod', [join(path, 'disk'), 'b', '7', '0']);
  execFileSync('mkfifo', [join(path, 'fifo')]);
  const before = readdirSync(pod.shareRoot);
  const refusals: [TestMount, RegExp][] = [
    [bind(join(path, 'docker.sock'), '/x'), /mounts\[3\].source: .*it is a socket.*inside a virtual machine/],
    [bind(join(path, 'disk'), '/x'), /mounts\[3\].source: .*it is a device/],
    [bind(join(path, 'fifo'), '/x'), /it is a FIFO/],
    [bind(join(path, 'none'), '/x'), /there is no such file or directory - create it first/],
    [bind('/proc/sys', '/x'), /it shows the host's kernel \(proc\)/],
    [bind('/sys', '/x'), /it shows the host's kernel \(sysfs\)/],
    [{ ...bind(path, '/x'), options: ['rbind', 'rshared'] }, /mounts\[3\].options: bidirectional/],
    [{ ...bind(path, '/x'), options: ['rbind', 'idmap'] }, /mounts\[3\].uidMappings: a mount with mapped ids needs/],
    [{ destination: '/x', type: 'nfs', source: 'server:/' }, /file system 'nfs' is not available/],
  ];
  for (const [mount, message] of refusals) {
    await expect(pod.create('refused', { mounts: [bind(path, '/good'), mount] })).rejects.toThrow(message);
  }
  server.close();
  expect(readdirSync(pod.shareRoot)).toEqual(before);
  expect((await pod.run('echo on')).output).toBe('on\n');
});

test('a hundred small binds are one daemon, and what a container had is let go with it', {
  timeout: 300_000,
}, async () => {
  const path = directory(join(pod.directory, 'many'));
  const names = Array.from({ length: 100 }, (_, index) => `f${index}`);
  directory(path, Object.fromEntries(names.map((name) => [name, `${name}\n`])));
  const tree = directory(join(path, 'tree'), Object.fromEntries(names.map((name) => [name, ''])));
  const [daemon = 0, ...others] = pod.programs('virtiofsd').filter((pid) => descriptors(pid).length > 0);
  // Mount points in the root that all containers here share stay known.
  const held = (): number => descriptors(daemon).filter((target) => /^\/share\/(?!1\/)/.test(target)).length;
  await pod.sh('a', 'true');
  const before = held();
  await pod.start('many', {
    mounts: [bind(tree, '/tree'), ...names.map((name) => bind(join(path, name), `/etc/many/${name}`, 'ro'))],
  });
  expect(await pod.sh('many', 'cat /etc/many/* | wc -l; ls -l /tree | wc -l')).toBe('100\n101');
  expect(held()).toBeGreaterThan(before + 200);
  expect(pod.programs('virtiofsd').length).toBe(others.length + 1);
  await pod.remove('many');
  await eventually(() => held() <= before, ASK_MS, `descriptors given back: ${held()} of ${before}`);
});

/** What the descriptors of a process lead to. */
function descriptors(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
    } catch {
      return [];
    }
  });
}

test('nothing of all this is mounted for the host', () => {
  const points = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '');
  expect(points.filter((point) => point.startsWith(pod.runRoot) || point.includes('/bundle-'))).toEqual([]);
  expect(existsSync(join(pod.directory, 'bundle-a/rootfs'))).toBe(true);
});
