/** The sandbox: network, dial, shared namespaces, user namespaces, resets, the end. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ContainerSpec } from '../../../agent/protocol/generated/agent.ts';
import type { Init } from '../../../agent/protocol/message.ts';
import type { ByteStream } from '../../../runtime/agent-client/byte-stream.ts';
import { collect, runExec } from '../../helpers/agent-programs.ts';
import { type AgentVm, powerOff, startAgentVm } from '../../helpers/agent-vm.ts';
import { rootStorages, testProcess, testSpec } from '../../helpers/container-defaults.ts';
import { makeTestDisks, type TestDisks, writeTestFile } from '../../helpers/test-disks.ts';

let disks: TestDisks;
let vm: AgentVm;
const MAC = '02:00:00:00:00:0a';

/**
 * Accepts one connection on a unix socket and gives back what it first says; given a port, answers a datagram with an
 * empty one, with another, and with six long ones. Busybox has nothing for that.
 */
const ANSWER = `
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct sockaddr_in port = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[argc - 1]))}, peer;
    socklen_t length = sizeof peer;
    char buffer[256];
    static char large[60000];
    if (port.sin_port) {
        int udp = socket(AF_INET, SOCK_DGRAM, 0);
        bind(udp, (struct sockaddr *)&port, sizeof port);
        recvfrom(udp, buffer, sizeof buffer, 0, (struct sockaddr *)&peer, &length);
        sendto(udp, 0, 0, 0, (struct sockaddr *)&peer, length);
        sendto(udp, "after", 5, 0, (struct sockaddr *)&peer, length);
        for (int count = 0; count < 6; count++) {
            usleep(50000);
            sendto(udp, large, sizeof large, 0, (struct sockaddr *)&peer, length);
        }
        return 0;
    }
    int server = socket(AF_UNIX, SOCK_STREAM, 0), fd;
    strncpy(address.sun_path, argv[argc - 1], sizeof address.sun_path - 1);
    if (bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, 1))
        return 1;
    fd = accept(server, 0, 0);
    return write(fd, buffer, read(fd, buffer, sizeof buffer)) < 0;
}
`;

beforeAll(async () => {
  disks = await makeTestDisks(`printf '%s' "$ANSWER" | gcc -xc -static -Os -o bin/answer -`, { ANSWER });
  const scratches = await Promise.all([0, 1, 2].map((index) => disks.scratch(`scratch${index}`)));
  await writeTestFile(disks, 'hello', 'datagram');
  vm = await startAgentVm({
    disks: [{ path: disks.busybox, readOnly: true }, ...scratches.map((path) => ({ path, readOnly: false }))],
    qemu: [
      '-netdev',
      `user,id=n0,restrict=on,tftp=${disks.directory}`,
      '-device',
      `virtio-net-pci,netdev=n0,mac=${MAC},addr=10.0,romfile=`,
    ],
  });
});

afterAll(async () => {
  try {
    await powerOff(vm);
    expect(vm.console()).not.toContain('panic');
  } finally {
    await disks.remove();
  }
});

async function start(
  id: string,
  scratch: number,
  args: readonly string[],
  change: Init<ContainerSpec> = {},
): Promise<ByteStream> {
  const stdout = vm.connection.openStream('from-guest');
  await vm.call.createContainer(
    {
      containerId: id,
      storages: rootStorages(id, 0, scratch),
      rootfsId: `${id}-root`,
      spec: testSpec(args, change),
      streams: { stdout: stdout.id, stderr: 0, stdin: 0 },
    },
    { timeoutMs: 30_000 },
  );
  await vm.call.startContainer({ containerId: id });
  return stdout;
}

async function remove(id: string): Promise<void> {
  await vm.call.signalProcess({ containerId: id, signal: 9, all: true });
  await vm.call.waitProcess({ containerId: id }, { timeoutMs: 10_000 });
  await vm.call.deleteContainer({ containerId: id }, { timeoutMs: 20_000 });
}

async function output(id: string, script: string): Promise<string> {
  const { stdout, stderr } = await runExec(vm, id, testProcess(['sh', '-c', script]));
  return stdout + stderr;
}

describe('a sandbox', () => {
  test('must exist before its containers', async () => {
    await expect(start('early', 1, ['true'])).rejects.toMatchObject({ code: 9 });
    const network = {
      interfaces: [{ mac: MAC, name: 'eth0', mtu: 1400, addresses: ['10.0.2.15/24', 'fd00::15/64'] }],
      routes: [
        { gateway: '10.0.2.2', interface: 'eth0', family: 4 },
        { destination: '10.9.0.0/16', gateway: '10.0.2.3', interface: 'eth0', family: 4, metric: 50 },
      ],
      neighbors: [{ address: '10.0.2.9', interface: 'eth0', mac: '02:00:00:00:00:09' }],
    };
    const wallClockNs = 1_900_000_000_123_000_000n;
    const sysctls = new Map([['net.ipv4.ip_unprivileged_port_start', '0']]);
    await vm.call.createSandbox({
      sandboxId: 'sb',
      hostname: 'pod',
      wallClockNs,
      entropy: new Uint8Array(32),
      sysctls,
      network,
    });
  });

  test('has the network, the clock and the parameters that were asked for', async () => {
    await start('c1', 1, ['sleep', '1000'], { namespaces: ['mount', 'pid', 'ipc', 'cgroup'] });
    const text = await output(
      'c1',
      'ip -o addr show eth0; ip route; ip neigh; date +%Y; hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /sys/class/net/eth0/mtu',
    );
    expect(text).toContain('10.0.2.15/24');
    expect(text).toContain('fd00::15/64');
    expect(text).toContain('default via 10.0.2.2 dev eth0');
    expect(text).toContain('10.9.0.0/16 via 10.0.2.3 dev eth0  metric 50');
    expect(text).toContain('10.0.2.9 dev eth0 lladdr 02:00:00:00:00:09');
    expect(text).toMatch(/\n2030\npod\n0\n1400\n$/);
    await vm.call.configureNetwork({
      network: { interfaces: [{ mac: MAC, name: 'eth0', addresses: ['10.0.2.16/24'] }], routes: [], neighbors: [] },
    });
    const after = await output('c1', 'ip -o -4 addr show eth0; ip route; ip neigh');
    expect(after).toContain('10.0.2.16/24');
    expect(after).not.toContain('10.0.2.15');
    expect(after).not.toContain('default');
    expect(after).not.toContain('02:00:00:00:00:09');
    const bad = vm.call.configureNetwork({ network: { interfaces: [{ mac: 'zz', name: 'eth0' }] } });
    await expect(bad).rejects.toThrow('network.interfaces[0].mac');
  });

  test('lets a container join the pid namespace of another, and ends it with that one', async () => {
    const joining = (pidNamespaceOf: string) => ({ namespaces: ['mount', 'ipc', 'cgroup'], pidNamespaceOf });
    await start('c2', 2, ['sleep', '2000'], { namespaces: ['mount', 'pid'] });
    await expect(start('c3', 3, ['true'], joining('none'))).rejects.toMatchObject({ code: 5 });
    await expect(start('c3', 3, ['true'], { ...joining('c2'), namespaces: ['pid'] })).rejects.toMatchObject({
      code: 3,
    });
    // As with a namespace of its own: the end of its first process is the end of the others.
    await start('c3', 3, ['sh', '-c', 'sleep 4000 & sleep 0.5'], joining('c2'));
    await vm.call.waitProcess({ containerId: 'c3' });
    expect(await output('c2', 'sleep 0.2; ps')).not.toContain('sleep 4000');
    await vm.call.deleteContainer({ containerId: 'c3' });
    await start('c3', 3, ['sleep', '3000'], joining('c2'));
    expect(await output('c3', 'ps')).toMatch(/^ *1 .*sleep 2000$/m);
    expect(await output('c2', 'ps')).toContain('sleep 3000');
    // Its init cannot be killed from inside, as no init of a namespace can.
    expect(await output('c3', 'kill -9 1; sleep 0.2; ps | grep -c "[s]leep [23]000"')).toMatch(/2\n$/);
    await vm.call.signalProcess({ containerId: 'c2', signal: 9 });
    expect((await vm.call.waitProcess({ containerId: 'c3' })).exitStatus).toBe(137);
    await vm.call.deleteContainer({ containerId: 'c3' });
    await expect(start('c3', 3, ['true'], joining('c2'))).rejects.toMatchObject({ code: 9 });
    await vm.call.deleteContainer({ containerId: 'c2' });
  });
});

describe('dial', () => {
  test('reaches tcp, udp and unix addresses', async () => {
    await output(
      'c1',
      'mkdir -p /srv; printf "#!/bin/sh\\nread x; echo tcp:\\$x\\n" > /srv/answer; chmod 755 /srv/answer; (nc -l -p 7777 -e /srv/answer >/dev/null 2>&1 &) ; sleep 0.3',
    );
    const tcp = await vm.connection.dial({ network: 'tcp', address: '127.0.0.1:7777' }, 5000);
    await tcp.write(Buffer.from('hello\n'));
    expect(await collect(tcp)).toBe('tcp:hello\n');
    tcp.end();
    // QEMU's own file server: a read request is answered by the first block.
    const udp = await vm.connection.dial({ network: 'udp', address: '10.0.2.2:69' }, 5000);
    await udp.write(Buffer.from('\0\u0001hello\0octet\0'));
    const { value } = await udp[Symbol.asyncIterator]().next();
    expect(Buffer.from(value ?? []).toString()).toBe('\0\u0003\0\u0001datagram');
    udp.abort();
    await output('c1', '(/bin/answer 7778 >/dev/null 2>&1 &); (/bin/answer /srv/socket >/dev/null 2>&1 &); sleep 0.3');
    const empty = await vm.connection.dial({ network: 'udp', address: '127.0.0.1:7778' }, 5000);
    await empty.write(Buffer.from('ask'));
    const after = await empty[Symbol.asyncIterator]().next();
    expect(Buffer.from(after.value ?? []).toString()).toBe('after');
    // More than may be under way unread: none is cut off for that.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    for (let count = 0; count < 6; count += 1) {
      expect((await empty[Symbol.asyncIterator]().next()).value?.length).toBe(60_000);
    }
    empty.abort();
    const unix = await vm.connection.dial({ network: 'unix', address: '/srv/socket', containerId: 'c1' }, 5000);
    await unix.write(Buffer.from('said'));
    expect(await collect(unix)).toBe('said');
    unix.end();
    await expect(vm.connection.dial({ network: 'tcp', address: '127.0.0.1:9' }, 5000)).rejects.toThrow('ECONNREFUSED');
    await expect(vm.connection.dial({ network: 'tcp', address: 'localhost:9' }, 5000)).rejects.toMatchObject({
      code: 3,
    });
    await expect(
      vm.connection.dial({ network: 'unix', address: '/srv/none', containerId: 'c1' }, 5000),
    ).rejects.toThrow('ENOENT');
    await expect(vm.connection.dial({ network: 'unix', address: '/srv/none' }, 5000)).rejects.toMatchObject({
      code: 3,
    });
  });

  test('reaches a container with a network of its own', async () => {
    await start('c2', 2, ['nc', '-l', '-p', '80', '-e', 'echo', 'inner'], {
      namespaces: ['mount', 'pid', 'network', 'ipc', 'uts'],
    });
    let stream: ByteStream | undefined;
    for (let attempt = 0; stream === undefined && attempt < 50; attempt += 1) {
      stream = await vm.connection
        .dial({ network: 'tcp', address: '127.0.0.1:80', containerId: 'c2' }, 5000)
        .catch(() => undefined);
    }
    expect(stream === undefined ? '' : await collect(stream)).toBe('inner\n');
    stream?.abort();
    await vm.call.waitProcess({ containerId: 'c2' });
    expect((await vm.call.statsContainer({ containerId: 'c2' })).interfaces).toEqual([]);
    await vm.call.deleteContainer({ containerId: 'c2' });
  });
});

describe('a user namespace', () => {
  test('maps users and groups, and owns the root', async () => {
    const map = [{ containerId: 0, hostId: 100_000, size: 65_536 }];
    const script = `id -u; cat /proc/self/uid_map | tr -s " "; touch /new && stat -c %u /new /home/app /etc/passwd; echo x > /dev/null && echo null
      mount -t tmpfs t /tmp 2>/dev/null || echo nomount; cat /etc/hosts; sleep 0.1; ls -ld /proc/1 | cut -d" " -f5-6 | head -1; sleep 1000`;
    const stdout = await start('u', 2, ['sh', '-c', script], {
      namespaces: ['mount', 'pid', 'network', 'ipc', 'uts', 'user', 'cgroup'],
      uidMappings: map,
      gidMappings: map,
      files: [{ destination: '/etc/hosts', content: Buffer.from('hosts\n'), mode: 0o644 }],
    });
    let text = '';
    for await (const part of stdout) {
      text += Buffer.from(part).toString();
      if (text.includes('hosts\n')) break;
    }
    expect(text).toBe('0\n 0 100000 65536\n0\n1000\n0\nnull\nnomount\nhosts\n');
    const { stdout: inner } = await runExec(
      vm,
      'u',
      testProcess(['sh', '-c', 'id -u; cat /proc/self/uid_map | tr -s " "; cat /proc/self/cgroup'], {
        user: { username: 'app' },
      }),
    );
    expect(inner).toBe('1000\n 0 100000 65536\n0::/\n');
    const terminal = vm.connection.openStream('from-guest');
    const process = testProcess(['tty'], { terminal: true, rows: 3, columns: 4 });
    await vm.call.execProcess({ containerId: 'u', execId: 't', process, streams: { stdout: terminal.id } });
    expect(await collect(terminal)).toBe('/dev/pts/0\r\n');
    await remove('u');
  });
});

describe('mounts between containers', () => {
  test('spread where both ends want it', async () => {
    const mounts = (id: string, option: string) => [
      ...(testSpec(['x']).mounts ?? []),
      { destination: '/shared', type: 'bind', storageId: id, options: ['rbind', option] },
    ];
    const privileged = ['CAP_SYS_ADMIN'];
    const process = testProcess(
      ['sh', '-c', 'mkdir -p /shared/m && mount -t tmpfs t /shared/m && touch /shared/m/seen; sleep 1000'],
      {
        capabilities: { bounding: privileged, effective: privileged, permitted: privileged },
      },
    );
    const stdout = vm.connection.openStream('from-guest');
    await vm.call.createContainer({
      containerId: 'giver',
      storages: [...rootStorages('giver', 0, 2), { id: 'meeting', tmpfs: { sizeBytes: 1n << 20n } }],
      rootfsId: 'giver-root',
      spec: testSpec([], { process, mounts: mounts('meeting', 'rshared') }),
      streams: { stdout: stdout.id },
    });
    // Roots that nobody can write: what is mounted on must be there, or be on the storage.
    for (const [containerId, option] of [
      ['taker', 'rslave'],
      ['loner', 'rprivate'],
    ] as const) {
      const rootfsId = `${containerId}-root`;
      const storages = [
        { id: rootfsId, tmpfs: { sizeBytes: 4n << 20n } },
        { id: `${containerId}-bin`, overlay: { lowerIds: ['giver-layer'], upperId: '' } },
      ];
      const bin = {
        destination: '/bin',
        type: 'bind',
        storageId: `${containerId}-bin`,
        storagePath: 'bin',
        options: ['bind'],
      };
      const spec = testSpec(['sleep', '1000'], { mounts: [...mounts('meeting', option), bin] });
      await vm.call.createContainer({ containerId, storages, rootfsId, spec });
      await vm.call.startContainer({ containerId });
    }
    await vm.call.startContainer({ containerId: 'giver' });
    await expect.poll(async () => output('taker', 'ls /shared/m'), { timeout: 5000 }).toBe('seen\n');
    expect(await output('loner', 'ls /shared/m')).toBe('');
    for (const id of ['taker', 'loner', 'giver']) await remove(id);
  });
});

describe('events', () => {
  test('are numbered, and wait for what happens', async () => {
    const { events } = await vm.call.nextEvents({ after: 0n });
    expect(events.length).toBeGreaterThan(0);
    expect(events.map((event) => event.sequence)).toEqual(events.map((_, index) => BigInt(index + 1)));
    const last = BigInt(events.length);
    const waiting = vm.call.nextEvents({ after: last }, { timeoutMs: 20_000 });
    await runExec(vm, 'c1', testProcess(['sh', '-c', 'exit 12']));
    const [event] = (await waiting).events;
    expect(event).toMatchObject({ sequence: last + 1n, containerId: 'c1', exit: { exitStatus: 12 } });
  });
});

describe('the agent', () => {
  test('is small, and has not grown', async () => {
    const info = await vm.call.guestInfo({});
    expect(info.agentResident).toBeLessThan(6n << 20n);
  });

  test('refuses entropy of a wrong size and takes the clock', async () => {
    await expect(vm.call.reseed({ entropy: new Uint8Array(3) })).rejects.toMatchObject({ code: 3 });
    await vm.call.reseed({ entropy: new Uint8Array(64) });
    await vm.call.setClock({ wallClockNs: 1_950_000_000_000_000_000n });
    expect(await output('c1', 'date +%Y')).toBe('2031\n');
  });
});
