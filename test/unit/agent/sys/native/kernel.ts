/** Cases: seccomp, eBPF, cgroups, netlink. */
import { attachBpf, BPF_ATTACH, BPF_PROGRAM, BpfAssembler } from '../../../../../agent/sys/bpf.ts';
import { close, mkdir, open, readFile, unlink } from '../../../../../agent/sys/calls.ts';
import { isErrno } from '../../../../../agent/sys/errors.ts';
import { formatIp, parseIp, parseMac } from '../../../../../agent/sys/ip.ts';
import { AT, CLD, CLONE, IFF, O, SCMP_ACT, SCMP_CMP, SIG } from '../../../../../agent/sys/linux.ts';
import { unshare } from '../../../../../agent/sys/processes.ts';
import { RouteSocket } from '../../../../../agent/sys/rtnetlink.ts';
import type { SeccompSource } from '../../../../../agent/sys/sys.ts';
import { SYS } from '../../../../../agent/sys/syscalls.ts';
import { assert, type Case, E, equal, output, plan, runPlan, shell, sys } from './kit.ts';

const ERRNO = 0x00050000;

function compile(source: SeccompSource): Uint8Array {
  const filter = sys.seccompCompile(source);
  if (typeof filter === 'number') throw new Error(`seccompCompile: errno ${-filter}`);
  return filter;
}

function address(text: string): Uint8Array {
  const bytes = parseIp(text);
  assert(bytes !== undefined, text);
  return bytes;
}

export const kernelCases: Record<string, Case> = {
  async seccomp([directory = '']) {
    const filter = compile({
      defaultAction: SCMP_ACT.ALLOW,
      architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'x32'],
      rules: [
        { names: ['mkdir', 'mkdirat', 'a_call_of_the_future'], action: ERRNO | E.EXDEV, args: [] },
        { names: ['sync'], action: SCMP_ACT.KILL_PROCESS, args: [] },
        { names: ['getpid'], action: SCMP_ACT.ALLOW, args: [] },
        // Alternatives on one argument: socket families 16 and 17.
        {
          names: ['socket'],
          action: ERRNO | E.EAFNOSUPPORT,
          args: [
            { index: 0, op: SCMP_CMP.EQ, value: 16n, valueTwo: 0n },
            { index: 0, op: SCMP_CMP.EQ, value: 17n, valueTwo: 0n },
          ],
        },
      ],
    });
    assert(filter.length % 8 === 0 && filter.length > 80, `${filter.length} bytes`);
    const install = { op: 'seccomp', filter, flags: 0, label: 'seccomp' } as const;
    equal(
      await output(`mkdir ${directory}/x 2>&1`, {}, [install]).then((text) => /cross-device/i.test(text)),
      true,
      'errno',
    );
    equal((await runPlan(plan([install, shell('exec sync')]))).end, [CLD.KILLED, SIG.SYS], 'killed');
    const tryFamily = (family: number): Promise<{ packets: readonly { errno: number }[] }> =>
      runPlan(
        plan([
          install,
          { op: 'call', nr: SYS.socket, args: [family, 2, 0], label: 'socket' },
          { op: 'exit', status: 0, label: 'exit' },
        ]),
      );
    equal((await tryFamily(16)).packets[0]?.errno, E.EAFNOSUPPORT, 'first alternative');
    equal((await tryFamily(17)).packets[0]?.errno, E.EAFNOSUPPORT, 'second alternative');
    equal((await tryFamily(2)).packets.length, 0, 'neither');
    const unknown: SeccompSource = { defaultAction: SCMP_ACT.ALLOW, architectures: ['nonsense'], rules: [] };
    equal(sys.seccompCompile(unknown), -E.EINVAL, 'unknown architecture');
    equal(sys.seccompCompile({ ...unknown, defaultAction: 5, architectures: [] }), -E.EINVAL, 'unknown action');
    return { bytes: filter.length };
  },

  async devices() {
    const mount = cgroup2();
    const path = `${mount}/tskata-test-${sys.call(SYS.getpid)}`;
    mkdir(sys, path);
    const cgroupFd = open(sys, path, O.RDONLY | O.DIRECTORY);
    try {
      // struct bpf_cgroup_dev_ctx: access_type, major, minor. Everything but 1:3 (/dev/null).
      const asm = new BpfAssembler();
      const deny = asm.label();
      asm.load32(2, 1, 4).jumpIfNotEqual(2, 1, deny).load32(2, 1, 8).jumpIfNotEqual(2, 3, deny).exit(1);
      const code = asm.place(deny).exit(0).assemble();
      const program = { name: 'devices', programType: BPF_PROGRAM.CGROUP_DEVICE, attachType: BPF_ATTACH.DEVICE, code };
      close(sys, attachBpf(sys, cgroupFd, program));
      const text = await output(
        'cat /dev/null && echo null; head -c1 /dev/zero >/dev/null 2>&1 || echo refused; grep ^0: /proc/self/cgroup',
        { cgroupFd },
      );
      equal(text.split('\n').slice(0, 2), ['null', 'refused'], 'devices');
      assert(text.includes('tskata-test-'), text);
    } finally {
      close(sys, cgroupFd);
      unlink(sys, path, AT.REMOVEDIR);
    }
  },

  network() {
    unshare(sys, CLONE.NEWNET);
    const routes = new RouteSocket(sys);
    const lo = routes.findLink('lo');
    assert(lo !== undefined, 'lo');
    routes.changeLink(lo.index, { up: true });
    routes.addVeth('one', 'two');
    const [one, two] = [routes.findLink('one'), routes.findLink('two')];
    assert(one !== undefined && two !== undefined && one.kind === 'veth', 'veth');
    const mac = parseMac('02:00:00:aa:bb:cc');
    assert(mac !== undefined, 'mac');
    routes.changeLink(one.index, { name: 'eth0', mtu: 1400, mac });
    routes.changeLink(one.index, { up: true });
    routes.changeLink(two.index, { up: true });
    routes.addAddress({ index: one.index, address: address('10.1.2.3'), prefix: 24, scope: 0 }, '10.1.2.3/24');
    routes.addAddress({ index: one.index, address: address('fd00::3'), prefix: 64, scope: 0 }, 'fd00::3/64');
    routes.addRoute({ family: 4, gateway: address('10.1.2.1'), index: one.index, metric: 7 }, 'default');
    routes.addRoute({ family: 6, gateway: address('fd00::1'), index: one.index }, 'default');
    const destination = { address: address('192.0.2.0'), prefix: 24 };
    routes.addRoute(
      { family: 4, destination, gateway: address('203.0.113.1'), index: one.index, onlink: true },
      'onlink',
    );
    routes.addNeighbor({ index: one.index, address: address('10.1.2.1'), mac }, '10.1.2.1');
    const link = routes.findLink('eth0');
    equal([link?.mtu, (link?.flags ?? 0) & IFF.UP, link?.mac.length], [1400, IFF.UP, 6], 'link');
    assert(link?.stats !== undefined && link.stats.rxBytes >= 0n, 'stats');
    const addresses = routes.addresses().filter(({ index }) => index === one.index);
    assert(
      addresses.some((entry) => formatIp(entry.address) === '10.1.2.3' && entry.prefix === 24),
      'address',
    );
    assert(
      addresses.some((entry) => formatIp(entry.address) === 'fd00:0:0:0:0:0:0:3'),
      'address 6',
    );
    const fallback = routes.routes().find((route) => route.destination === undefined && route.family === 4);
    equal([fallback?.metric, formatIp(fallback?.gateway ?? new Uint8Array(0))], [7, '10.1.2.1'], 'route');
    assert(
      routes.routes().some((route) => route.onlink === true && route.destination?.prefix === 24),
      'onlink',
    );
    equal(routes.neighbors().length, 1, 'neighbours');
    routes.deleteNeighbor(one.index, address('10.1.2.1'), '10.1.2.1');
    equal(routes.neighbors().length, 0, 'neighbours after deletion');
    assert(readFile(sys, '/proc/net/route').includes('eth0'), '/proc/net/route');
    try {
      routes.addRoute({ family: 4, gateway: address('8.8.8.8'), index: one.index }, 'default via 8.8.8.8');
      throw new Error('an unreachable gateway was taken');
    } catch (error) {
      assert(isErrno(error, E.ENETUNREACH), String(error));
      equal(error.message, 'add route default via 8.8.8.8: ENETUNREACH', 'message');
    }
    routes.deleteLink(one.index);
    equal(routes.findLink('two'), undefined, 'both ends go');
    routes.close();
  },
};

function cgroup2(): string {
  for (const line of readFile(sys, '/proc/self/mountinfo').split('\n')) {
    if (line.includes(' - cgroup2 ')) return line.split(' ')[4] ?? '';
  }
  throw new Error('no cgroup v2 is mounted');
}
