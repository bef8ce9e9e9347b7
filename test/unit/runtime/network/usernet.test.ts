/**
 * What a guest on the user-mode network reaches: the real program, confined by the real keeper, real listeners. The far
 * host is another network namespace behind a veth pair.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Keeper, startKeeper } from '../../../../runtime/helper-client/keeper.ts';
import { programFiles } from '../../../../runtime/helper-client/libraries.ts';
import { INET4 } from '../../../../runtime/network/addressing.ts';
import { egressPolicy } from '../../../../runtime/network/egress-policy.ts';
import { usernetRequest, writeResolverFile } from '../../../../runtime/network/usernet.ts';
import { buildUsernet } from '../../../../runtime/usernet/build.ts';
import { EthernetGuest } from '../../../helpers/ethernet-guest.ts';
import { buildHelper, type HelperBuild } from '../../../helpers/native.ts';

const FAR = {
  name: `tskfar${process.pid}`,
  near: '198.51.100.1',
  far: '198.51.100.2',
  late: '198.51.100.9',
  metadata: '169.254.169.254',
  port: 7777,
};
/** A name server of the host's own, on its loopback interface. */
const RESOLVER = '127.0.0.77';
const DNS_PORT = 53;
/** Echoes; says on its standard output when it listens. */
const FAR_PROGRAM = `
  const echo = require('node:dgram').createSocket('udp4');
  echo.on('message', (bytes, { address, port }) => echo.send(bytes, port, address));
  echo.bind(${FAR.port}, () => require('node:net').createServer(() => {}).listen(${FAR.port}, () => console.log('up')));
`;
/** Of iproute2, which only tests use. */
const IP = '/sbin/ip';
const REFUSED_MS = 1500;

let build: HelperBuild;
let keeper: Keeper;
let guest: EthernetGuest;
let pid: number;
let farHost: ChildProcess | undefined;
const servers: Server[] = [];
const resolver = createSocket('udp4');
let hostPort = 0;

async function listen(host: string, port = 0): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => {}));
  servers.push(server);
  await new Promise<void>((resolve) => void server.listen(port, host, resolve));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function ip(...args: string[]): void {
  execFileSync(IP, args);
}

function hostAddress(): string {
  const all = Object.values(networkInterfaces()).flatMap((entries) => entries ?? []);
  const found = all.find(({ internal, family, address }) => !internal && family === 'IPv4' && address !== FAR.near);
  if (found === undefined) throw new Error('this test needs a host address');
  return found.address;
}

beforeAll(async () => {
  build = await buildHelper();
  ip('netns', 'add', FAR.name);
  ip('link', 'add', 'tskveth0', 'type', 'veth', 'peer', 'name', 'tskveth1', 'netns', FAR.name);
  ip('addr', 'add', `${FAR.near}/30`, 'dev', 'tskveth0');
  ip('link', 'set', 'tskveth0', 'up');
  ip('-n', FAR.name, 'addr', 'add', `${FAR.far}/30`, 'dev', 'tskveth1');
  ip('-n', FAR.name, 'link', 'set', 'tskveth1', 'up');
  ip('-n', FAR.name, 'addr', 'add', `${FAR.metadata}/32`, 'dev', 'tskveth1');
  ip('route', 'add', `${FAR.metadata}/32`, 'dev', 'tskveth0');
  farHost = spawn(IP, ['netns', 'exec', FAR.name, process.execPath, '-e', FAR_PROGRAM]);
  await once(farHost.stdout as Readable, 'data');
  hostPort = await listen('0.0.0.0');
  keeper = await startKeeper({ helper: build.helper, runRoot: build.runRoot, inherited: ['guest'], onLog: () => {} });
  const { uid } = await keeper.call.claimUser({ first: 300_000, count: 16 });
  resolver.on('message', (bytes, { address, port }) => resolver.send(bytes, port, address));
  await new Promise<void>((resolve) => resolver.bind(DNS_PORT, RESOLVER, resolve));
  await listen(RESOLVER, DNS_PORT);
  const executable = join(build.directory, 'lib/tskata-usernet');
  await buildUsernet(executable);
  const cache = join(build.runRoot, 'cache');
  const request = usernetRequest({
    executable,
    files: await programFiles([executable], cache),
    uid,
    families: { inet4: true, inet6: false },
    resolverFile: await writeResolverFile(cache, RESOLVER),
    policy: egressPolicy([], [RESOLVER]),
  });
  ({ pid } = await keeper.call.spawn({ ...request, descriptors: [{ inherited: 'guest' }] }));
  guest = new EthernetGuest(keeper.socket('guest'), INET4.guest);
});

afterAll(async () => {
  await keeper?.close();
  farHost?.kill('SIGKILL');
  for (const server of servers) server.close();
  resolver.close();
  execFileSync(IP, ['netns', 'del', FAR.name], { stdio: 'ignore' });
  await build?.remove();
});

test('a host on another network is reachable, by TCP and by UDP', async () => {
  expect(await guest.connect(FAR.far, FAR.port, 5000)).toBe('accepted');
  expect((await guest.ask(FAR.far, FAR.port, Buffer.from('ping'), 5000))?.toString()).toBe('ping');
});

test('a closed port is refused', async () => {
  expect(await guest.connect(FAR.far, 1, 5000)).toBe('refused');
});

test('the metadata address is refused although the host has a route to it', async () => {
  expect(await guest.connect(FAR.metadata, FAR.port, REFUSED_MS)).toBe('unreachable');
  expect(await guest.ask(FAR.metadata, FAR.port, Buffer.from('ping'), REFUSED_MS)).toBeUndefined();
});

test('the loopback interface of the host is not reachable', async () => {
  expect(await guest.connect('127.0.0.1', hostPort, REFUSED_MS)).not.toBe('accepted');
  expect(await guest.connect('0.0.0.0', hostPort, REFUSED_MS)).not.toBe('accepted');
  expect(await guest.connect(INET4.gateway, hostPort, REFUSED_MS)).not.toBe('accepted');
});

test('a resolver on that interface is asked by an address of its own, by UDP and TCP, and nothing beside it', async () => {
  expect((await guest.ask(INET4.resolver, DNS_PORT, Buffer.from('name'), 5000))?.toString()).toBe('name');
  expect(await guest.connect(INET4.resolver, DNS_PORT, 5000)).toBe('accepted');
  expect(await guest.connect(INET4.resolver, hostPort, REFUSED_MS)).not.toBe('accepted');
});

test("the host's own addresses are refused at once", async () => {
  expect(await guest.connect(hostAddress(), hostPort, REFUSED_MS)).toBe('unreachable');
  expect(await guest.connect(FAR.near, hostPort, REFUSED_MS)).toBe('unreachable');
});

test('an address that the host gets later is not reachable either', async () => {
  ip('addr', 'add', `${FAR.late}/32`, 'dev', 'tskveth0');
  expect(await guest.connect(FAR.late, hostPort, REFUSED_MS)).not.toBe('accepted');
});

test('datagrams do not reach the host', async () => {
  const socket = createSocket('udp4');
  const received: string[] = [];
  socket.on('message', (bytes) => received.push(bytes.toString()));
  await new Promise<void>((resolve) => socket.bind(0, resolve));
  const { port } = socket.address();
  for (const address of ['127.0.0.1', hostAddress(), FAR.late]) {
    await guest.ask(address, port, Buffer.from(address), 200);
  }
  socket.close();
  expect(received).toEqual([]);
});

test('the program runs confined, as a user of its own', () => {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  expect(status).toMatch(/^Uid:\t3000\d\d\t/m);
  expect(status).toMatch(/^Cap(Eff|Prm|Bnd):\t0+$/m);
  expect(status).toMatch(/^NoNewPrivs:\t1$/m);
  expect(status).toMatch(/^Seccomp:\t2$/m);
  expect(readdirSync(`/proc/${pid}/root/etc`)).toEqual(['resolv.conf']);
  for (const line of readFileSync(`/proc/${pid}/mountinfo`, 'utf8').trim().split('\n')) {
    expect(line.split(' ')[5]?.split(',')).toContain('ro');
  }
});
