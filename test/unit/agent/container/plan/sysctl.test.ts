import { expect, test } from 'vitest';
import { isNamespacedSysctl, isSysctlKey, sysctlPath } from '../../../../../agent/container/plan/sysctl.ts';

test('a key becomes a path; the first separator decides what a dot is', () => {
  expect(sysctlPath('net.ipv4.ip_forward')).toBe('/proc/sys/net/ipv4/ip_forward');
  expect(sysctlPath('net.ipv4.conf.eth0/1.rp_filter')).toBe('/proc/sys/net/ipv4/conf/eth0.1/rp_filter');
  expect(sysctlPath('net/ipv4/conf/eth0.1/rp_filter')).toBe('/proc/sys/net/ipv4/conf/eth0.1/rp_filter');
});

test('keys that lead elsewhere are none', () => {
  for (const key of ['', 'net', '.net', 'net..ipv4', 'net/../vm', 'net.ipv4/', 'a b.c', 'net.\0'])
    expect(isSysctlKey(key)).toBe(false);
  expect(isSysctlKey('kernel.shm_rmid_forced')).toBe(true);
});

test('only parameters of a namespace', () => {
  for (const key of ['kernel.shmmax', 'fs.mqueue.msg_max', 'net.core.somaxconn', 'kernel.domainname'])
    expect(isNamespacedSysctl(key)).toBe(true);
  for (const key of ['vm.swappiness', 'kernel.panic', 'kernel.hostname', 'fs.file-max'])
    expect(isNamespacedSysctl(key)).toBe(false);
});
