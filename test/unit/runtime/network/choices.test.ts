/** What a guest's network is told, from the host's files. */
import { expect, test } from 'vitest';
import { guestAddresses, guestNetwork, INET4 } from '../../../../runtime/network/addressing.ts';
import { egressPolicy } from '../../../../runtime/network/egress-policy.ts';
import { hasDefaultRoute4, hasDefaultRoute6 } from '../../../../runtime/network/host-routes.ts';
import { parseResolvConf, resolversOf } from '../../../../runtime/network/resolvers.ts';
import { usernetArgs } from '../../../../runtime/network/usernet.ts';

const BOTH = { inet4: true, inet6: true };
const ONLY4 = { inet4: true, inet6: false };

const HEAD = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n';

test('default routes of IPv4', () => {
  expect(hasDefaultRoute4(`${HEAD}eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n`)).toBe(true);
  expect(hasDefaultRoute4(`${HEAD}eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n`)).toBe(false);
  expect(hasDefaultRoute4(`${HEAD}eth0\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0\n`)).toBe(false);
  expect(hasDefaultRoute4('')).toBe(false);
});

test('default routes of IPv6: an unreachable one on lo is none', () => {
  const zero = '0'.repeat(32);
  const line = (flags: string, device: string): string =>
    `${zero} 00 ${zero} 00 fd000000000000000000000000000001 00000400 00000001 00000000 ${flags}     ${device}\n`;
  expect(hasDefaultRoute6(line('00000003', 'eth0'))).toBe(true);
  expect(hasDefaultRoute6(line('00200200', 'lo'))).toBe(false);
  expect(hasDefaultRoute6('')).toBe(false);
});

test('name servers of the host', () => {
  const text =
    '# x\nnameserver 192.0.2.53\n nameserver\t::1 \noptions a\nnameserver fe80::1%eth0\nnameserver nonsense\n';
  expect(parseResolvConf(text)).toEqual(['192.0.2.53', '::1']);
});

test('reachable servers are used as they are, loopback ones through an address of their own', () => {
  expect(resolversOf(['127.0.0.53', '192.0.2.53'], BOTH)).toEqual({ guest: ['192.0.2.53'], host: ['192.0.2.53'] });
  expect(resolversOf(['127.0.0.53'], BOTH)).toEqual({
    guest: [INET4.resolver],
    host: ['127.0.0.53'],
    forwarded: '127.0.0.53',
  });
  expect(resolversOf(['::1'], ONLY4)).toEqual({ guest: [], host: [] });
  expect(resolversOf(['1.1.1.1', '1.0.0.1', '8.8.8.8', '9.9.9.9'], BOTH).guest).toHaveLength(3);
});

test('the guest is configured for the families that lead out', () => {
  expect(guestNetwork(ONLY4).interfaces?.[0]?.addresses).toEqual(['10.0.2.15/24']);
  expect(guestNetwork(BOTH).routes?.map((route) => route.family)).toEqual([4, 6]);
  expect(guestAddresses(BOTH)).toHaveLength(2);
});

test('the arguments of the user-mode network', () => {
  expect(usernetArgs(ONLY4, false).join(' ')).toBe(
    '--fd 3 --mtu 65520 --inet4 10.0.2.0,255.255.255.0,10.0.2.15,10.0.2.2,10.0.2.3',
  );
  expect(usernetArgs({ inet4: false, inet6: true }, true).join(' ')).toBe(
    '--fd 3 --mtu 65520 --inet6 fd74:736b:6174:61::,64,fd74:736b:6174:61::2,fd74:736b:6174:61::3 --forward-resolver',
  );
});

test('the default policy names metadata services and the host', () => {
  const policy = egressPolicy(['10.9.0.0/16'], ['127.0.0.53']);
  expect(policy.deniedDestinations).toEqual(expect.arrayContaining(['127.0.0.0/8', '169.254.0.0/16', 'fe80::/10']));
  expect(policy.deniedDestinations).toEqual(expect.arrayContaining(['127.0.0.1/32', '::1/128']));
  expect(policy.allowedDestinations).toEqual(['10.9.0.0/16']);
  expect(policy.denyHost).toBe(true);
});
