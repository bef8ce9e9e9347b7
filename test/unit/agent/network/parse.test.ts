import { expect, test } from 'vitest';
import { parseTarget } from '../../../../agent/network/dial.ts';
import { parseNetDev } from '../../../../agent/network/stats.ts';

test('addresses to dial', () => {
  expect(parseTarget('tcp', '127.0.0.1:80').address).toMatchObject({ family: 'inet', port: 80 });
  expect(parseTarget('udp', '[::1]:53').address).toMatchObject({ family: 'inet6', port: 53 });
  expect(parseTarget('unix', '/run/x').address).toEqual({ family: 'unix', path: '/run/x' });
  for (const [network, address] of [
    ['tcp', 'host:80'],
    ['tcp', '127.0.0.1'],
    ['tcp', '1.2.3.4:0'],
    ['tcp', '1.2.3.4:70000'],
    ['tcp', '::1:80'],
    ['unix', 'x'],
    ['unix', `/${'x'.repeat(107)}`],
    ['icmp', '1.2.3.4:1'],
  ] as const) {
    expect(() => parseTarget(network, address)).toThrow();
  }
});

test('/proc/net/dev', () => {
  const text =
    'Inter-|   Receive\n face |bytes\n    lo:  1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  eth0: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n';
  expect(parseNetDev(text)[0]).toEqual({
    name: 'lo',
    rxBytes: 1n,
    rxPackets: 2n,
    rxErrors: 3n,
    rxDropped: 4n,
    txBytes: 9n,
    txPackets: 10n,
    txErrors: 11n,
    txDropped: 12n,
  });
  expect(parseNetDev(text)).toHaveLength(2);
  expect(parseNetDev('')).toEqual([]);
});
