/**
 * Pods with networks of real CNI plugins: packets of every kind in every direction, host ports, port-forward, changes
 * while they run. The host is a network namespace of the test's own.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Cni, type CniConfig, type CniResult } from '../../helpers/cni.ts';
import { NetworkNamespace } from '../../helpers/network-namespaces.ts';
import { askFrom, Pod, stateIn, TALK_PORT } from '../../helpers/pod.ts';
import { buildTalk, type Talk } from '../../helpers/talk.ts';
import { eventually, Tskata } from '../../helpers/tskata.ts';

const GATEWAY = { 4: '10.88.0.1', 6: 'fd88::1' } as const;
const HOST_PORT = 8080;
const MTU = 1400;
/** A change is told after a moment of quiet, carried by a call, and the machine may be slow. */
const CHANGE_MS = 20_000;

let tskata: Tskata;
let talk: Talk;
let host: NetworkNamespace;
let cni: Cni;
let bridge: CniConfig;
let ptp: CniConfig;
let one: Pod;
let two: Pod;
let results: [CniResult, CniResult];
const servers: ReturnType<typeof spawn>[] = [];

const ports = { portMappings: [{ hostPort: HOST_PORT, containerPort: TALK_PORT, protocol: 'tcp' }] };
const first = () => ({ pod: one.network, interface: 'eth0', runtimeConfig: ports });
const second = () => ({ pod: two.network, interface: 'eth0' });

/** Address of a pod in a family. */
function addressOf(pod: Pod, family: 4 | 6): string {
  const found = stateIn(pod.network, 'eth0').addresses.find((each) => each.includes(':') === (family === 6));
  return found?.replace(/\/.*$/, '') ?? '';
}

beforeAll(async () => {
  tskata = new Tskata();
  talk = await buildTalk();
  host = new NetworkNamespace('host');
  cni = await Cni.open(host);
  const leases = (name: string) => ({ type: 'host-local', dataDir: join(tskata.directory, name) });
  const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }];
  const ranges = [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd88::/64' }]];
  bridge = {
    name: 'pods',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni0',
        isGateway: true,
        hairpinMode: true,
        mtu: MTU,
        ipam: { ...leases('b'), ranges, routes },
      },
      { type: 'portmap', capabilities: { portMappings: true }, snat: true },
    ],
  };
  const line = [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/64' }]];
  ptp = { name: 'line', plugins: [{ type: 'ptp', mtu: 1300, ipam: { ...leases('p'), ranges: line } }] };
  one = new Pod({ tskata, talk: talk.program }, 'one');
  two = new Pod({ tskata, talk: talk.program }, 'two');
  results = [await cni.add(bridge, first()), await cni.add(bridge, second())];
  await Promise.all([one.start(), two.start()]);
  const server = spawn('ip', ['netns', 'exec', host.name, talk.program, 'serve', String(TALK_PORT)]);
  servers.push(server);
  await once(server.stdout, 'data');
}, 300_000);

afterAll(async () => {
  for (const server of servers) server.kill('SIGKILL');
  await one.remove();
  await two.remove();
  for (const pod of [one, two]) {
    // The pod's end of the network is as the plugins made it.
    expect([pod.network.interfaces(), pod.network.ingress(), pod.network.listeners()]).toEqual([['eth0'], [], []]);
  }
  await cni.delete(bridge, first(), results[0]);
  await cni.delete(bridge, second(), results[1]);
  for (const namespace of [one.network, two.network, host]) namespace.dispose();
  talk.remove();
  tskata.dispose();
}, 60_000);

test('a guest has what its namespace has: addresses, routes, hardware address, MTU', async () => {
  for (const pod of [one, two]) {
    const wanted = stateIn(pod.network, 'eth0');
    expect([wanted.addresses.length, wanted.routes.length, wanted.mtu]).toEqual([2, 4, MTU]);
    expect(await pod.state('eth0')).toEqual(wanted);
  }
});

test('a pod can begin with ptp alone, and with several networks and neighbours of both families', {
  timeout: 180_000,
}, async () => {
  const lined = new Pod({ tskata, talk: talk.program }, 'lined');
  const networks = [
    [ptp, { pod: lined.network, interface: 'eth0' }],
    [bridge, { pod: lined.network, interface: 'net1' }],
  ] as const;
  const added: CniResult[] = [];
  try {
    for (const [config, attachment] of networks) added.push(await cni.add(config, attachment));
    lined.network.ip('neigh add 10.77.0.250 lladdr 02:00:00:00:00:fa dev eth0 nud permanent');
    lined.network.ip('neigh add fd88::250 lladdr 02:00:00:00:00:fb dev net1 nud permanent');
    await lined.start();
    for (const name of ['eth0', 'net1']) expect(await lined.state(name)).toEqual(stateIn(lined.network, name));
    const neighbours = await lined.run('ip', 'neigh');
    expect(neighbours).toContain('10.77.0.250 dev eth0 lladdr 02:00:00:00:00:fa');
    expect(neighbours).toContain('fd88::250 dev net1 lladdr 02:00:00:00:00:fb');
    for (const address of ['10.77.0.1', GATEWAY[4]]) {
      expect(await lined.ask('tcp', address, TALK_PORT, 'l')).toContain(' said l');
    }
  } finally {
    await lined.remove();
    for (const [index, result] of added.entries()) {
      const [config, attachment] = networks[index] ?? networks[0];
      await cni.delete(config, attachment, result);
    }
    lined.network.dispose();
  }
});

test.each([4, 6] as const)('IPv%i: from pod to pod and to the host, and back', { timeout: 120_000 }, async (family) => {
  const [here, there] = [addressOf(one, family), addressOf(two, family)];
  const ping = family === 4 ? 'ping' : 'ping6';
  // The first packet waits for the neighbour's address.
  expect(await one.run(ping, '-c', '2', '-W', '10', there)).toContain(' 0% packet loss');
  expect(await one.run(ping, '-c', '2', '-W', '10', GATEWAY[family])).toContain(' 0% packet loss');
  for (const protocol of ['tcp', 'udp']) {
    expect(await one.ask(protocol, there, TALK_PORT, 'a')).toBe(`${here} said a`);
    expect(await two.ask(protocol, GATEWAY[family], TALK_PORT, 'b')).toBe(`${there} said b`);
    expect(await askFrom(host, talk.program, [protocol, here, TALK_PORT, 'c'])).toBe(`${GATEWAY[family]} said c`);
  }
  expect(await one.run('ping', '-c', '1', '-s', String(MTU * 2), '-W', '10', there)).toContain(' 0% packet loss');
});

test('a host port leads into the guest', async () => {
  expect(await askFrom(host, talk.program, ['tcp', GATEWAY[4], HOST_PORT, 'x'])).toMatch(/ said x$/);
  expect(await two.ask('tcp', GATEWAY[4], HOST_PORT, 'y')).toMatch(/ said y$/);
});

test("localhost of the namespace is the guest's: port-forward", async () => {
  const ask = (address: string, port: number) => askFrom(one.network, talk.program, ['tcp', address, port, 'z']);
  expect(await ask('127.0.0.1', TALK_PORT)).toBe('127.0.0.1 said z');
  expect(await ask('::1', TALK_PORT)).toBe('::1 said z');
  const startedMs = performance.now();
  await expect(ask('127.0.0.1', 81)).rejects.toThrow('Connection reset by peer');
  expect(performance.now() - startedMs).toBeLessThan(5_000);
});

test('changes of the namespace reach the guest: addresses, routes, a second network and its end', {
  timeout: 180_000,
}, async () => {
  const same = async (name: string): Promise<boolean> =>
    isDeepStrictEqual(await one.state(name), stateIn(one.network, name));
  one.network.ip('addr add 10.88.0.200/24 dev eth0');
  one.network.ip('route add 192.0.2.0/24 via 10.88.0.1 metric 5');
  one.network.ip('neigh add 10.88.0.250 lladdr 02:00:00:00:00:fa dev eth0 nud permanent');
  await eventually(() => same('eth0'), CHANGE_MS, 'the address and the route');
  expect(await one.run('ip', 'neigh')).toContain('10.88.0.250 dev eth0 lladdr 02:00:00:00:00:fa');
  expect(await askFrom(host, talk.program, ['tcp', '10.88.0.200', TALK_PORT, 'n'])).toBe('10.88.0.1 said n');
  one.network.ip('addr del 10.88.0.200/24 dev eth0');
  one.network.ip('route del 192.0.2.0/24');
  await eventually(() => same('eth0'), CHANGE_MS, 'their end');

  const line = { pod: one.network, interface: 'net1' };
  const result = await cni.add(ptp, line);
  await eventually(() => one.run('ip', 'link').then((text) => text.includes('net1')), CHANGE_MS, 'a second card');
  await eventually(() => same('net1'), CHANGE_MS, 'its addresses and routes');
  expect((await one.state('net1')).mtu).toBe(1300);
  expect(await one.run('ping', '-c', '1', '-W', '10', '10.77.0.1')).toContain(' 0% packet loss');
  expect(await one.ask('udp', 'fd77::1', TALK_PORT, 'u')).toMatch(/^fd77::\S+ said u$/);
  await cni.delete(ptp, line, result);
  await eventually(() => one.run('ip', 'link').then((text) => !text.includes('net1')), CHANGE_MS, 'no second card');
  expect(await same('eth0')).toBe(true);
  expect(await one.ask('tcp', GATEWAY[4], TALK_PORT, 'b')).toBe(`${addressOf(one, 4)} said b`);
});
