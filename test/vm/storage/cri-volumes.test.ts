/**
 * Volumes through a real CRI, mounted on the host as kubelet mounts them: the same with runc and with tskata, but for
 * the memory of the pod, which is the guest's.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Containerd } from '../../helpers/containerd.ts';
import { MountPropagation } from '../../helpers/cri/generated/cri.ts';
import { type Handler, Pod } from '../../helpers/cri/pod.ts';

let containerd: Containerd;

beforeAll(async () => {
  containerd = await Containerd.start();
});

afterAll(() => containerd.dispose());

/** What kubelet makes before a pod's containers: on the host, in containerd's mount namespace. */
async function kubelet(handler: Handler): Promise<{ readonly volumes: string; readonly pod: string }> {
  const pod = join(containerd.directory, 'kubelet/pods', handler);
  const volumes = join(pod, 'volumes');
  const make = (...names: string[]): string => {
    const path = join(volumes, ...names);
    mkdirSync(path, { recursive: true });
    return path;
  };
  make('kubernetes.io~empty-dir', 'work');
  await containerd.namespaces.ok(
    'mount',
    '-t',
    'tmpfs',
    '-o',
    'size=4m,mode=777',
    'tmpfs',
    make('kubernetes.io~empty-dir', 'memory'),
  );
  const config = make('kubernetes.io~configmap', 'config');
  mkdirSync(join(config, '..one'));
  writeFileSync(join(config, '..one/key'), 'value\n');
  symlinkSync('..one', join(config, '..data'));
  symlinkSync('..data/key', join(config, 'key'));
  writeFileSync(join(pod, 'etc-hosts'), '127.0.0.1\tlocalhost\n10.0.0.9\tother\n');
  writeFileSync(join(pod, 'termination'), '');
  return { volumes, pod };
}

async function scenario(handler: Handler): Promise<Record<string, string>> {
  const { volumes, pod: directory } = await kubelet(handler);
  const pod = await Pod.run(containerd, handler, { metadata: { name: 'web', uid: 'u', namespace: 'test' } });
  const shared = [
    { containerPath: '/work', hostPath: join(volumes, 'kubernetes.io~empty-dir/work') },
    { containerPath: '/memory', hostPath: join(volumes, 'kubernetes.io~empty-dir/memory') },
  ];
  const mounts = [
    ...shared,
    { containerPath: '/config', hostPath: join(volumes, 'kubernetes.io~configmap/config'), readonly: true },
    { containerPath: '/etc/hosts', hostPath: join(directory, 'etc-hosts') },
    { containerPath: '/dev/termination-log', hostPath: join(directory, 'termination') },
    { containerPath: '/etc/host', hostPath: join(directory, 'etc-hosts'), readonly: true },
  ];
  const app = await pod.start({ name: 'app', mounts, command: ['sleep', '1000'] });
  const side = await pod.start({ name: 'side', mounts: shared, command: ['sleep', '1000'] });
  const size = "tail -1 | tr -s ' ' | cut -d' ' -f2";
  const found = {
    files: await app.output(
      'cat /etc/hosts /etc/resolv.conf /etc/hostname /etc/host /config/key; readlink /config/..data',
    ),
    shm: await app.output(`df -k /dev/shm | ${size}; stat -c %a /dev/shm; echo posix > /dev/shm/object`),
    memory: await app.output(`df -k /memory | ${size}; stat -c %a /memory; echo kept > /memory/file`),
    other: await side.output(
      'cat /dev/shm/object /memory/file; echo side > /work/file; mount | grep -c " /dev/shm type tmpfs"',
    ),
    work: await app.output('cat /work/file; echo x > /config/y; echo y > /etc/host; echo done > /dev/termination-log'),
    cgroup: await app.output(
      "grep -cE ' /(sys/fs/cgroup|dev/mqueue|dev/pts|proc|sys) ' /proc/mounts > /dev/null; ls -d /dev/mqueue /sys/fs/cgroup",
    ),
  };
  await app.stop();
  await app.remove();
  const again = await pod.start({ name: 'app', mounts, command: ['sleep', '1000'] });
  const after = { restarted: await again.output('cat /memory/file /work/file /dev/shm/object') };
  const host = {
    termination: readFileSync(join(directory, 'termination'), 'utf8'),
    workOnHost: readdirSync(join(volumes, 'kubernetes.io~empty-dir/work')).join(' '),
  };
  const inMemory = await containerd.namespaces.ok('ls', join(volumes, 'kubernetes.io~empty-dir/memory'));
  expect(inMemory, "memory volumes are the guest's").toBe(handler === 'tskata' ? '' : 'file\n');
  await pod.remove();
  await containerd.namespaces.ok('umount', join(volumes, 'kubernetes.io~empty-dir/memory'));
  return { ...found, ...after, ...host };
}

test('volumes are the same with runc and with tskata', { timeout: 240_000 }, async () => {
  const [expected, found] = [await scenario('runc'), await scenario('tskata')];
  expect(found).toEqual(expected);
  expect(found).toMatchObject({ restarted: 'kept\nside\nposix\n', termination: 'done\n', workOnHost: 'file' });
  expect(found.shm).toBe('65536\n1777\n');
  expect(existsSync(join(containerd.directory, 'kubelet/pods/tskata/volumes'))).toBe(true);
});

test('a bidirectional volume and a socket are refused with their place, and leave nothing', {
  timeout: 120_000,
}, async () => {
  const pod = await Pod.run(containerd, 'tskata');
  const create = (hostPath: string, propagation: number) =>
    pod.start({ name: 'no', mounts: [{ containerPath: '/x', hostPath, propagation }], command: ['true'] });
  const socket = containerd.paths.socket;
  await expect(create(socket, MountPropagation.PROPAGATION_PRIVATE)).rejects.toThrow(
    /mounts\[\d+\].source: .*it is a socket/,
  );
  const bidirectional = create(containerd.directory, MountPropagation.PROPAGATION_BIDIRECTIONAL);
  await expect(bidirectional).rejects.toThrow(/bidirectional propagation|not mounted|shared mount/);
  await pod.remove();
});
