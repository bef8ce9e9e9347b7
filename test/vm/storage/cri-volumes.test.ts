/**
 * Volumes through a real CRI, mounted on the host as kubelet mounts them: the same with runc and with tskata, but for
 * the memory of the pod, which is the guest's.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Containerd } from '../../helpers/containerd.ts';
import { MountPropagation } from '../../helpers/cri/generated/cri.ts';
import { KubeletPod } from '../../helpers/cri/kubelet.ts';
import { type Handler, Pod } from '../../helpers/cri/pod.ts';

let containerd: Containerd;

beforeAll(async () => {
  containerd = await Containerd.start();
});

afterAll(() => containerd.dispose());

const SEEN_MS = 1_500;

/** The service account as every pod has it: a projected volume of a token, a config map and the downward API. */
const ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

async function scenario(handler: Handler): Promise<Record<string, string>> {
  const kubelet = new KubeletPod(containerd, handler);
  const work = await kubelet.emptyDir('work');
  const memory = await kubelet.emptyDir('memory', '4m');
  const config = await kubelet.written('configmap', 'config', { key: 'value\n', 'app.conf': 'one\n' });
  const secret = await kubelet.written('secret', 'password', { word: 'hush\n' });
  const labels = await kubelet.written('downward-api', 'podinfo', { labels: 'app="web"\n' });
  const account = { token: 'first\n', 'ca.crt': 'certificate\n', namespace: 'test' };
  const projected = await kubelet.written('projected', 'kube-api-access-x', account);
  mkdirSync(join(work, 'site/deep'), { recursive: true });
  writeFileSync(join(work, 'site/index.html'), 'hello\n');
  const hosts = kubelet.file('etc-hosts', '127.0.0.1\tlocalhost\n10.0.0.9\tother\n');
  const termination = kubelet.file('termination', '');
  const pod = await Pod.run(containerd, handler, { metadata: { name: 'web', uid: 'u', namespace: 'test' } });
  const shared = [
    { containerPath: '/work', hostPath: work },
    { containerPath: '/memory', hostPath: memory },
  ];
  // Parts are bound anew for each start.
  const mounts = async () => [
    ...shared,
    { containerPath: '/config', hostPath: config, readonly: true },
    { containerPath: '/secret', hostPath: secret, readonly: true },
    { containerPath: '/podinfo', hostPath: labels, readonly: true },
    { containerPath: ACCOUNT, hostPath: projected, readonly: true },
    { containerPath: '/etc/app.conf', hostPath: await kubelet.subPath(config, 'app.conf') },
    { containerPath: '/site', hostPath: await kubelet.subPath(work, 'site') },
    { containerPath: '/etc/hosts', hostPath: hosts },
    { containerPath: '/dev/termination-log', hostPath: termination },
    { containerPath: '/etc/host', hostPath: hosts, readonly: true },
  ];
  const app = await pod.start({ name: 'app', mounts: await mounts(), command: ['sleep', '1000'] });
  const side = await pod.start({ name: 'side', mounts: shared, command: ['sleep', '1000'] });
  const size = "tail -1 | tr -s ' ' | cut -d' ' -f2";
  const written = `cat /config/key /secret/word /podinfo/labels ${ACCOUNT}/*; readlink /config/..data; readlink ${ACCOUNT}/..data`;
  const found = {
    files: await app.output('cat /etc/hosts /etc/resolv.conf /etc/hostname /etc/host'),
    written: await app.output(written),
    parts: await app.output('cat /etc/app.conf; ls /site; echo more > /site/deep/page; cat /work/site/deep/page'),
    shm: await app.output(`df -k /dev/shm | ${size}; stat -c %a /dev/shm; echo posix > /dev/shm/object`),
    memory: await app.output(`df -k /memory | ${size}; stat -c %a /memory; echo kept > /memory/file`),
    other: await side.output(
      'cat /dev/shm/object /memory/file; echo side > /work/file; mount | grep -c " /dev/shm type tmpfs"',
    ),
    work: await app.output('cat /work/file; echo x > /config/y; echo y > /etc/host; echo done > /dev/termination-log'),
    refused: await app.output(`echo x > /secret/word; echo x > /podinfo/labels; echo x > ${ACCOUNT}/token`),
    cgroup: await app.output(
      "grep -cE ' /(sys/fs/cgroup|dev/mqueue|dev/pts|proc|sys) ' /proc/mounts > /dev/null; ls -d /dev/mqueue /sys/fs/cgroup",
    ),
  };
  kubelet.update(config, { key: 'another\n', 'app.conf': 'two\n' });
  kubelet.update(secret, { word: 'louder\n' });
  kubelet.update(labels, { labels: 'app="web2"\n' });
  kubelet.update(projected, { ...account, token: 'second\n' });
  await sleep(SEEN_MS);
  // What a part shows stays until the next start.
  const updated = await app.output(`${written}; cat /etc/app.conf`);
  await app.stop();
  await app.remove();
  const again = await pod.start({ name: 'app', mounts: await mounts(), command: ['sleep', '1000'] });
  const after = { updated, restarted: await again.output('cat /memory/file /work/file /dev/shm/object /etc/app.conf') };
  const host = {
    termination: readFileSync(termination, 'utf8'),
    workOnHost: readdirSync(work).join(' '),
    pageOnHost: readFileSync(join(work, 'site/deep/page'), 'utf8'),
  };
  const inMemory = await containerd.namespaces.ok('ls', memory);
  expect(inMemory, "memory volumes are the guest's").toBe(handler === 'tskata' ? '' : 'file\n');
  await pod.remove();
  await kubelet.remove();
  return { ...found, ...after, ...host };
}

test('volumes are the same with runc and with tskata', { timeout: 240_000 }, async () => {
  const [expected, found] = [await scenario('runc'), await scenario('tskata')];
  expect(found).toEqual(expected);
  expect(found).toMatchObject({
    restarted: 'kept\nside\nposix\ntwo\n',
    termination: 'done\n',
    workOnHost: 'file site',
  });
  expect(found).toMatchObject({ shm: '65536\n1777\n', parts: 'one\ndeep\nindex.html\nmore\n', pageOnHost: 'more\n' });
  expect(found.written).toBe('value\nhush\napp="web"\ncertificate\ntestfirst\n..first\n..first\n');
  expect(found.updated).toBe('another\nlouder\napp="web2"\ncertificate\ntestsecond\n..second\n..second\none\n');
  expect(found.refused?.match(/Read-only file system/g)).toHaveLength(3);
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
