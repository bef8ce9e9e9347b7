/** From a namespace to its guest, on states as the keeper reads them. */
import { describe, expect, test } from 'vitest';
import { NetworkState } from '../../../../agent/protocol/generated/helper.ts';
import type { Init } from '../../../../agent/protocol/message.ts';
import { guestConfig, planPod } from '../../../../runtime/network/pod-plan.ts';

const UP = 0x11043;
const PERMANENT = 0x80;
const LINK = 253;
const MAIN = 254;
const MAC = '0a:58:0a:58:00:02';

const lo = { index: 1, name: 'lo', mac: '00:00:00:00:00:00', mtu: 65_536, flags: 0x49, type: 772 };
const eth0 = { index: 2, name: 'eth0', mac: MAC, mtu: 1450, flags: UP, type: 1, kind: 'veth' };

/** A whole state of a part of one. */
function plan(state: Init<NetworkState>): ReturnType<typeof planPod> {
  return planPod(NetworkState.decode(NetworkState.encode(state)));
}

describe('a pod of a bridge network', () => {
  const { interfaces, leftOut } = plan({
    links: [lo, eth0, { ...eth0, index: 3, name: 'tsk2', mac: '02:00:00:00:00:03', kind: 'tun' }],
    addresses: [
      { index: 1, address: '127.0.0.1/8', scope: 254, flags: PERMANENT },
      { index: 2, address: '10.88.0.2/24', flags: PERMANENT },
      { index: 2, address: 'fd88:0:0:0:0:0:0:2/64', flags: PERMANENT },
      { index: 2, address: 'fe80:0:0:0:858:aff:fe58:2/64', scope: LINK, flags: PERMANENT },
      { index: 2, address: '2001:db8:0:0:858:aff:fe58:2/64', flags: 0x100 },
      { index: 2, address: 'fd88:0:0:0:0:0:0:3/64', flags: PERMANENT | 0x08 },
    ],
    routes: [
      { family: 4, gateway: '10.88.0.1', index: 2, mtu: 1300, table: MAIN, protocol: 3 },
      { family: 4, destination: '10.88.0.0/24', index: 2, source: '10.88.0.2', scope: LINK, table: MAIN, protocol: 2 },
      { family: 4, destination: '10.88.0.2/32', index: 2, table: 255, protocol: 2 },
      { family: 6, destination: 'fe80:0:0:0:0:0:0:0/64', index: 2, metric: 256, table: MAIN, protocol: 2 },
      { family: 6, gateway: 'fe80:0:0:0:0:0:0:9', index: 2, metric: 1024, table: MAIN, protocol: 9 },
      { family: 6, gateway: 'fd88:0:0:0:0:0:0:1', index: 2, metric: 1024, table: MAIN, protocol: 3 },
      { family: 4, destination: '127.0.0.0/8', index: 1, table: MAIN, protocol: 2 },
    ],
    neighbors: [
      { index: 2, address: '10.88.0.1', mac: '02:00:00:00:00:09' },
      { index: 1, address: '127.0.0.9', mac: '02:00:00:00:00:0a' },
    ],
  });

  test('has its interface, and not the tap', () => {
    expect(interfaces.map(({ index, name, mac }) => [index, name, mac])).toEqual([[2, 'eth0', MAC]]);
    expect(leftOut).toEqual([]);
  });

  test('has in the guest what was made for it, without what a guest makes by itself or learns', () => {
    expect(guestConfig(interfaces)).toEqual({
      interfaces: [
        {
          mac: MAC,
          name: 'eth0',
          mtu: 1450,
          addresses: ['10.88.0.2/24', 'fd88:0:0:0:0:0:0:2/64'],
          noPrefixRoutes: true,
        },
      ],
      routes: [
        { ...route, gateway: '10.88.0.1', family: 4, mtu: 1300 },
        { ...route, destination: '10.88.0.0/24', source: '10.88.0.2', family: 4, scope: LINK },
        { ...route, gateway: 'fd88:0:0:0:0:0:0:1', family: 6, metric: 1024 },
      ],
      neighbors: [{ address: '10.88.0.1', mac: '02:00:00:00:00:09', interface: 'eth0' }],
    });
  });
});

const route = {
  destination: '',
  gateway: '',
  interface: 'eth0',
  source: '',
  scope: 0,
  metric: 0,
  mtu: 0,
  onlink: false,
};

describe('interfaces', () => {
  const names = (...links: Init<NetworkState>['links'] & object[]): string[] =>
    plan({ links }).interfaces.map(({ name }) => name);

  test('several are carried; those that are down, and ports of bridges, are not', () => {
    const second = { ...eth0, index: 4, name: 'net1', mac: '0a:58:0a:58:00:03' };
    const bridge = { ...second, index: 5, name: 'br0', mac: '0a:58:0a:58:00:04', kind: 'bridge' };
    const port = { ...second, index: 6, name: 'port0', mac: '0a:58:0a:58:00:05', master: 5 };
    const down = { ...second, index: 7, name: 'net2', mac: '0a:58:0a:58:00:06', flags: 0x1002 };
    expect(names(lo, eth0, second, bridge, port, down)).toEqual(['eth0', 'net1', 'br0']);
  });

  test("another's tap is one like others, whatever it is called by", () => {
    expect(
      names({ ...eth0, name: 'tap0', kind: 'tun' }, { ...eth0, index: 9, name: 'tsk9', mac: '02:00:00:00:00:01' }),
    ).toEqual(['tap0', 'tsk9']);
  });

  test('what cannot be carried is left out with its reason', () => {
    const { leftOut, interfaces } = plan({
      links: [
        eth0,
        { ...eth0, index: 3, name: 'wg0', mac: '', type: 65_534 },
        { ...eth0, index: 4, name: 'eth1' },
        { ...eth0, index: 5, name: 'a b', mac: '02:00:00:00:00:05' },
      ],
      routes: [{ family: 4, destination: '10.0.0.0/8', table: MAIN }],
    });
    expect(interfaces).toHaveLength(1);
    expect(leftOut).toEqual([
      'interface wg0: it is no Ethernet interface',
      'interface eth1: it has the hardware address of eth0',
      'interface a b: its name has characters that the guest does not take',
      'route 10.0.0.0/8: it has several next hops',
    ]);
  });

  test('a namespace with its loopback alone is a guest with its loopback alone', () => {
    expect(plan({ links: [lo] })).toEqual({ interfaces: [], leftOut: [] });
  });
});
