/** A network that comes once the task has a process, as `ctr run --cni` makes it: between Create and Start, and after. */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Cni, type CniConfig } from '../../helpers/cni.ts';
import { NetworkNamespace } from '../../helpers/network-namespaces.ts';
import { PodShim } from '../../helpers/pod-shim.ts';
import { eventually } from '../../helpers/tskata.ts';

const GATEWAY = '10.66.0.1';
const CHANGE_MS = 20_000;

let pod: PodShim;
let host: NetworkNamespace;
let cni: Cni;
let config: CniConfig;

beforeAll(async () => {
  pod = new PodShim();
  host = new NetworkNamespace('host');
  cni = await Cni.open(host);
  const ranges = [[{ subnet: '10.66.0.0/24' }]];
  const ipam = { type: 'host-local', dataDir: join(pod.directory, 'leases'), ranges, routes: [{ dst: '0.0.0.0/0' }] };
  config = { name: 'later', plugins: [{ type: 'bridge', bridge: 'cni0', isGateway: true, ipam }] };
});

afterAll(async () => {
  try {
    await pod.dispose();
  } finally {
    host.dispose();
  }
});

test('what CNI puts into the namespace of a created task is in the guest, and goes with it', async () => {
  await pod.create('c');
  const { pid } = await pod.task.state({ id: 'c' });
  const attachment = { pod: { name: 'c', path: `/proc/${pid}/ns/net` }, interface: 'eth0' };
  const result = await cni.add(config, attachment);
  await pod.task.start({ id: 'c' });
  const addresses = async (): Promise<string> =>
    (await pod.exec('c', '/bin/busybox ip -o addr show eth0 2>/dev/null')).output;
  await eventually(async () => (await addresses()).includes(' 10.66.0.2/24 '), CHANGE_MS, 'the address in the guest');
  const pages = join(pod.directory, 'pages');
  mkdirSync(pages);
  writeFileSync(join(pages, 'page'), 'from outside\n');
  const server = spawn('ip', ['netns', 'exec', host.name, 'busybox', 'httpd', '-f', '-p', '80', '-h', pages]);
  try {
    const fetch = `printf 'GET /page HTTP/1.0\r\n\r\n' | nc ${GATEWAY} 80 | tail -n 1`;
    const fetched = async (): Promise<boolean> => (await pod.exec('c', fetch)).output === 'from outside\n';
    await eventually(fetched, CHANGE_MS, 'a page of the other side');
  } finally {
    server.kill('SIGKILL');
  }
  await cni.delete(config, attachment, result);
  await eventually(async () => (await addresses()) === '', CHANGE_MS, 'no card in the guest');
});

test('so is what hooks of the configuration put there, whose container they are told with its process', async () => {
  const script = join(pod.directory, 'hook');
  const link = `tskh${process.pid}`;
  // As the hooks of container engines: the namespace is that of the pid in the state.
  const lines = [
    '#!/bin/sh -e',
    `if [ "$1" = gone ]; then ip link show ${link} > ${script}.left 2>&1 || true; exit; fi`,
    'pid=$(sed \'s/.*"pid":\\([0-9]*\\).*/\\1/\')',
    `ip link add ${link} type veth peer name eth0 netns "$pid"`,
    'nsenter --net=/proc/"$pid"/ns/net ip addr add 10.67.0.2/24 dev eth0',
    'nsenter --net=/proc/"$pid"/ns/net ip link set eth0 up',
  ];
  writeFileSync(script, `${lines.join('\n')}\n`, { mode: 0o755 });
  const env = [`PATH=${process.env.PATH}`];
  const hook = (...args: string[]) => ({ path: script, args: ['hook', ...args], env });
  const hooked = new PodShim();
  try {
    await hooked.start('c', { hooks: { createRuntime: [hook('make')], poststop: [hook('gone')] } });
    const addresses = async (): Promise<string> =>
      (await hooked.exec('c', '/bin/busybox ip -o addr show eth0 2>/dev/null')).output;
    await eventually(async () => (await addresses()).includes(' 10.67.0.2/24 '), CHANGE_MS, 'the address in the guest');
  } finally {
    await hooked.dispose();
  }
  expect(readFileSync(`${script}.left`, 'utf8')).toContain(link);
});
