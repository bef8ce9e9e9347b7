/** The keeper in a pod's network namespace: what it reads, carries, follows, and leaves. No machine takes part. */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { type Keeper, startKeeper } from '../../../runtime/helper-client/keeper.ts';
import { buildHelper, type HelperBuild } from '../../helpers/native.ts';
import { NetworkNamespace } from '../../helpers/network-namespaces.ts';
import { askFrom } from '../../helpers/pod.ts';
import { buildTalk, type Talk } from '../../helpers/talk.ts';

const CALL = { timeoutMs: 10_000 };

let build: HelperBuild;
let talk: Talk;
let host: NetworkNamespace;
let pod: NetworkNamespace;
const keepers: Keeper[] = [];

async function keeper(): Promise<Keeper> {
  const started = await startKeeper({
    helper: build.helper,
    runRoot: build.runRoot,
    inherited: [],
    onLog: () => {},
  });
  keepers.push(started);
  return started;
}

beforeAll(async () => {
  build = await buildHelper();
  talk = await buildTalk();
});

beforeEach(() => {
  host = new NetworkNamespace('host');
  pod = new NetworkNamespace('pod');
  host.ip(`link add veth0 type veth peer name eth0 netns ${pod.name}`);
  host.ip('link set veth0 up');
  pod.ip('link set eth0 mtu 1400 address 02:00:00:00:00:07 up');
  pod.ip('addr add 10.9.0.2/24 dev eth0');
  pod.ip('addr add fd09::2/64 dev eth0 nodad');
  pod.ip('route add default via 10.9.0.1');
});

afterEach(async () => {
  await Promise.all(keepers.splice(0).map((one) => one.close()));
  pod.dispose();
  host.dispose();
});

afterAll(async () => {
  talk.remove();
  await build.remove();
});

/** What a server says to somebody in the pod's namespace. */
const ask = (address: string, port: number) => askFrom(pod, talk.program, ['tcp', address, port, 'x']);

test('reads what is there', async () => {
  const { call } = await keeper();
  await call.openNetwork({ path: pod.path }, CALL);
  const state = await call.readNetwork({}, CALL);
  const eth0 = state.links.find(({ name }) => name === 'eth0');
  expect(eth0).toMatchObject({ mac: '02:00:00:00:00:07', mtu: 1400, kind: 'veth', type: 1, master: 0 });
  const addresses = state.addresses.filter(({ index }) => index === eth0?.index).map(({ address }) => address);
  expect(addresses).toContain('10.9.0.2/24');
  expect(addresses).toContain('fd09:0:0:0:0:0:0:2/64');
  expect(state.routes).toContainEqual(
    expect.objectContaining({ destination: '', gateway: '10.9.0.1', index: eth0?.index, table: 254 }),
  );
  expect(pod.ingress()).toEqual([]);
});

test('carries an interface, gives it back, and leaves nothing', async () => {
  const { call, close } = await keeper();
  await call.openNetwork({ path: pod.path }, CALL);
  const { links } = await call.readNetwork({}, CALL);
  const index = links.find(({ name }) => name === 'eth0')?.index ?? 0;
  const { tap } = await call.carryInterface({ index }, CALL);
  expect(pod.interfaces()).toEqual(['eth0', tap].sort());
  expect(pod.ingress().sort()).toEqual(['eth0', tap].sort());
  const [shown] = pod.ip(`addr show dev ${tap}`) as { mtu: number; flags: string[]; addr_info: unknown[] }[];
  expect(shown).toMatchObject({ mtu: 1400, addr_info: [] });
  expect(shown?.flags).toContain('UP');

  const second = await keeper();
  await second.call.openNetwork({ path: pod.path }, CALL);
  await expect(second.call.carryInterface({ index }, CALL)).rejects.toThrow(
    'another sandbox uses this network namespace',
  );
  expect(pod.ingress().sort()).toEqual(['eth0', tap].sort());

  await call.dropInterface({ index }, CALL);
  expect(pod.ingress()).toEqual([]);
  await call.carryInterface({ index }, CALL);
  await close();
  expect([pod.ingress(), pod.interfaces()]).toEqual([[], ['eth0']]);
});

test('takes over from a killed keeper, and spares the disciplines of others', async () => {
  const first = await keeper();
  await first.call.openNetwork({ path: pod.path }, CALL);
  const { links } = await first.call.readNetwork({}, CALL);
  const index = links.find(({ name }) => name === 'eth0')?.index ?? 0;
  await first.call.carryInterface({ index }, CALL);
  process.kill(first.pid, 'SIGKILL');
  await first.ended;
  expect([pod.ingress(), pod.interfaces()]).toEqual([['eth0'], ['eth0']]);
  const second = await keeper();
  await second.call.openNetwork({ path: pod.path }, CALL);
  await second.call.carryInterface({ index }, CALL);
  await second.close();
  expect(pod.ingress()).toEqual([]);

  pod.run('tc', 'qdisc', 'add', 'dev', 'eth0', 'clsact');
  const third = await keeper();
  await third.call.openNetwork({ path: pod.path }, CALL);
  await expect(third.call.carryInterface({ index }, CALL)).rejects.toThrow(
    'carry eth0: it has an ingress queueing discipline (clsact) of somebody else',
  );
  expect([pod.ingress(), pod.interfaces()]).toEqual([['eth0'], ['eth0']]);
});

test('tells of changes once they are over', async () => {
  const { call } = await keeper();
  await call.openNetwork({ path: pod.path }, CALL);
  await call.readNetwork({}, CALL);
  let told = false;
  const change = call.waitNetworkChange({}, CALL).then(() => {
    told = true;
  });
  await call.readNetwork({}, CALL);
  expect(told).toBe(false);
  pod.ip('addr add 10.9.0.3/24 dev eth0');
  await change;
  const { addresses } = await call.readNetwork({}, CALL);
  expect(addresses.map(({ address }) => address)).toContain('10.9.0.3/24');
});

test('listens on every port of the loopback', async () => {
  const { call, listenLoopback, close } = await keeper();
  await call.openNetwork({ path: pod.path }, CALL);
  const server = createServer();
  const got: [string | undefined, number | undefined][] = [];
  server.on('connection', (socket: Socket) => {
    got.push([socket.localAddress, socket.localPort]);
    socket.end('hello');
  });
  server.listen(await listenLoopback());
  await once(server, 'listening');
  expect(await ask('127.0.0.1', 80)).toBe('hello');
  expect(await ask('127.1.2.3', 65_535)).toBe('hello');
  expect(await ask('::1', 1)).toBe('hello');
  expect(got).toEqual([
    ['::ffff:127.0.0.1', 80],
    ['::ffff:127.1.2.3', 65_535],
    ['::1', 1],
  ]);
  // Only the loopback is listened to.
  await expect(ask('10.9.0.2', 80)).rejects.toThrow('Connection refused');
  server.close();
  await close();
  expect(pod.listeners()).toEqual([]);
  await expect(ask('127.0.0.1', 80)).rejects.toThrow('Connection refused');
});

test('refuses the network of the host', async () => {
  const { call } = await keeper();
  await expect(call.openNetwork({ path: `/proc/${process.pid}/ns/net` }, CALL)).rejects.toThrow(
    'is the network of the host',
  );
  await expect(call.openNetwork({ path: '/dev/null' }, CALL)).rejects.toThrow();
});
