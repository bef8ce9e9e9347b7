/**
 * A whole running sandbox as the kernel sees it: who runs as whom, what each can reach, that the published port works
 * and the host does not answer the guest, and that a killed shim takes everything along.
 */
import { mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { decodeRecord } from '../../runtime/state/record.ts';
import { PodShim } from '../helpers/pod-shim.ts';
import { eventually, Tskata } from '../helpers/tskata.ts';

const PORT = 18_973;

let tskata: Tskata;
let id: string;
let pids: Map<string, number>;

function proc(name: string, file: string): string {
  return readFileSync(`/proc/${pids.get(name)}/${file}`, 'utf8');
}

function field(name: string, key: string): string {
  return new RegExp(`^${key}:\\s*(.*)$`, 'm').exec(proc(name, 'status'))?.[1]?.replace(/\s+/g, ' ') ?? '';
}

function namespace(name: string, kind: string): string {
  return readlinkSync(`/proc/${pids.get(name)}/ns/${kind}`);
}

/** The shim, its keeper and the keeper's children, by the name of the program. */
function processes(container: string): Map<string, number> {
  const path = join(tskata.runRoot, 'default', container, 'state.json');
  const record = decodeRecord(readFileSync(path, 'utf8'));
  const keeper = record.keeper?.pid ?? 0;
  const children = readFileSync(`/proc/${keeper}/task/${keeper}/children`, 'utf8').trim().split(' ').map(Number);
  const named = children.map((pid): [string, number] => {
    const program = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0] ?? '';
    return [program.replace(/^.*\//, '').replace('qemu-system-x86_64', 'qemu').replace('tskata-', ''), pid];
  });
  return new Map([['shim', record.shim.pid], ['keeper', keeper], ...named]);
}

function isGone(pid: number): boolean {
  try {
    return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true;
  }
}

/** Cgroups that carry the rules of what the user-mode network may reach; gone with their keepers. */
function egressCgroups(): string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  const point = mounts.find((line) => line.includes(' - cgroup2 '))?.split(' ')[4];
  return readdirSync(`${point}/tskata`);
}

beforeAll(async () => {
  tskata = await Tskata.withBusybox();
  const directory = join(tskata.directory, 'data');
  mkdirSync(directory);
  writeFileSync(join(directory, 'index.html'), 'published');
  id = await tskata.ok(
    ...['run', '-d', '--network', 'user', '-p', `127.0.0.1:${PORT}:8080`, '-v', `${directory}:/data`],
    ...['busybox', 'httpd', '-f', '-p', '8080', '-h', '/data'],
  );
  pids = processes(id);
});

afterAll(async () => {
  await tskata.call(['rm', '-f', id]);
  tskata.dispose();
});

/** What `ps e` and /proc show of a process's start: arguments, environment, directory. */
function originOf(pid: number): string {
  const texts = ['cmdline', 'environ'].map((file) =>
    readFileSync(`/proc/${pid}/${file}`, 'utf8').replaceAll('\0', ' '),
  );
  return [...texts, readlinkSync(`/proc/${pid}/cwd`)].join('\n');
}

/** The program, its one argument, PATH, the cache of the installation, the root directory: the same for every shim. */
const NOBODYS_ORIGIN =
  /^containerd-shim-tskata-v2 [^ ]+\/lib\/shim\.js \nPATH=[^ ]* (NODE_COMPILE_CACHE=[^ ]+\/lib\/compile-cache )?\n\/$/;

test('a shim of containerd shows nothing of whose it is', async () => {
  const pod = new PodShim();
  try {
    await pod.start('pause');
    expect(originOf(pod.store.list()[0]?.record?.shim.pid ?? 0)).toMatch(NOBODYS_ORIGIN);
  } finally {
    await pod.dispose();
  }
});

describe('a running sandbox', () => {
  test('has a shim that shows nothing of whose it is', () => {
    expect(originOf(pids.get('shim') ?? 0)).toMatch(NOBODYS_ORIGIN);
  });

  test("consists of a shim, a keeper, QEMU, virtiofsd, the user-mode network and the container's stand-in", () => {
    expect([...pids.keys()].sort()).toEqual(['keeper', 'qemu', 'shim', 'stand-in', 'usernet', 'virtiofsd']);
  });

  test('runs QEMU and the user-mode network each as a user of its own, without any capability', () => {
    const users = ['qemu', 'usernet'].map((name) => Number(field(name, 'Uid').split(' ')[0]));
    expect(new Set(users).size).toBe(2);
    for (const uid of users) expect(uid).toBeGreaterThanOrEqual(200_000);
    for (const name of ['qemu', 'usernet']) {
      expect(field(name, 'CapEff')).toMatch(/^0+$/);
      expect(field(name, 'CapPrm')).toMatch(/^0+$/);
      expect(field(name, 'NoNewPrivs')).toBe('1');
      expect(field(name, 'Seccomp')).toBe('2');
    }
    expect(field('qemu', 'CapBnd')).toMatch(/^0+$/);
  });

  test('runs virtiofsd as root, since it makes files for every user, but without devices, mounts and the network', () => {
    expect(field('virtiofsd', 'Uid').split(/\s+/)[0]).toBe('0');
    const held = BigInt(`0x${field('virtiofsd', 'CapEff')}`);
    // CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_MODULE, CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_MKNOD.
    for (const capability of [12n, 13n, 16n, 19n, 21n, 27n]) expect((held >> capability) & 1n).toBe(0n);
    expect(field('virtiofsd', 'NoNewPrivs')).toBe('1');
    expect(field('virtiofsd', 'Seccomp')).toBe('2');
    // Less where the host's own bound is lower.
    const [, files] = /^Max open files\s+\d+\s+(\d+)\s/m.exec(proc('virtiofsd', 'limits')) ?? [];
    expect(Number(files)).toBeLessThanOrEqual(1_000_000);
    expect(proc('virtiofsd', 'limits')).toMatch(/^Max core file size\s+0\s+0\s/m);
  });

  test("gives every confined program namespaces of its own, and the host's network to the user-mode network alone", () => {
    const kinds = ['mnt', 'pid', 'ipc', 'uts'];
    for (const name of ['qemu', 'virtiofsd', 'usernet']) {
      for (const kind of kinds) expect(namespace(name, kind)).not.toBe(namespace('shim', kind));
    }
    expect(namespace('usernet', 'net')).toBe(namespace('shim', 'net'));
    for (const name of ['qemu', 'virtiofsd']) expect(namespace(name, 'net')).not.toBe(namespace('shim', 'net'));
  });

  test('shows QEMU no more than its program, its firmware, kernel and initrd', () => {
    expect(readdirSync(`/proc/${pids.get('qemu')}/root`).sort()).toEqual([
      'boot',
      'dev',
      'lib',
      'lib64',
      'sockets',
      'usr',
    ]);
    const options = proc('qemu', 'mountinfo')
      .trim()
      .split('\n')
      .map((line) => line.split(' ')[5]?.split(','));
    for (const list of options) expect(list).toContain('ro');
    const shown = readdirSync(`/proc/${pids.get('usernet')}/root`, { recursive: true, withFileTypes: true });
    for (const entry of shown.filter((each) => !each.isDirectory())) {
      expect(entry.name).toMatch(/^(tskata-usernet|resolv\.conf|.*\.so(\.[\d.]+)?)$/);
    }
    expect(readdirSync(`/proc/${pids.get('virtiofsd')}/root`)).not.toContain('usr');
    expect(proc('qemu', 'limits')).toMatch(/^Max core file size\s+0\s+0\s/m);
  });

  test('keeps its mounts from the host', () => {
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(tskata.directory);
    expect(proc('keeper', 'mountinfo')).toContain(tskata.directory);
  });

  test('answers on its published port', async () => {
    for (let round = 0; round < 5; round++) {
      const response = await fetch(`http://127.0.0.1:${PORT}/`);
      expect(await response.text()).toBe('published');
    }
  });
});

describe('the guest', () => {
  const servers: Server[] = [];
  let port = 0;
  let asked = 0;

  beforeAll(async () => {
    const server = createServer((socket) => {
      asked += 1;
      socket.end('host');
    });
    servers.push(server);
    await new Promise<void>((resolve) => void server.listen(0, '0.0.0.0', resolve));
    const address = server.address();
    port = typeof address === 'object' && address !== null ? address.port : 0;
  });

  afterAll(() => {
    for (const server of servers) server.close();
  });

  test('reaches the host by none of its addresses', async () => {
    const own = Object.values(networkInterfaces())
      .flatMap((entries) => entries ?? [])
      .filter(({ family }) => family === 'IPv4')
      .map(({ address }) => address);
    for (const address of [...own, '10.0.2.2', '169.254.169.254']) {
      await tskata.call(['exec', id, 'nc', '-w', '1', address, String(port)]);
    }
    expect(asked).toBe(0);
  });

  test('has its addresses and name servers', async () => {
    expect(await tskata.ok('exec', id, 'ip', '-4', 'addr', 'show', 'dev', 'eth0')).toContain('10.0.2.15/24');
    expect(await tskata.ok('exec', id, 'cat', '/etc/resolv.conf')).toMatch(/^nameserver /m);
  });
});

test('kill -9 of the shim ends everything within a second, and the next command cleans up', async () => {
  const victim = await tskata.ok('run', '-d', '--network', 'user', '-v', '/etc:/data:ro', 'busybox', 'sleep', '1000');
  const all = processes(victim);
  const children = [...all].filter(([name]) => name !== 'shim').map(([, pid]) => pid);
  expect(children).toHaveLength(5);
  process.kill(all.get('shim') ?? 0, 'SIGKILL');
  await eventually(() => children.every(isGone), 1000, 'the keeper and all that it started end');
  const list = JSON.parse(await tskata.ok('list', '--json')) as { id: string; status: string; exitStatus?: number }[];
  expect(list.find((row) => row.id === victim)).toMatchObject({ status: 'stopped', exitStatus: 137 });
  await tskata.ok('rm', victim);
  const keeper = all.get('keeper');
  expect(egressCgroups().filter((name) => name.startsWith(`${keeper}-`))).toEqual([]);
  expect(tskata.leaks().filter((leak) => leak.includes(victim))).toEqual([]);
});

test('a port that is taken is named before a machine boots', async () => {
  const started = performance.now();
  const { status, stderr } = await tskata.call(['run', '--rm', '-p', `127.0.0.1:${PORT}:80`, 'busybox', 'true']);
  expect(status).toBe(125);
  expect(stderr).toContain(`127.0.0.1:${PORT}`);
  expect(stderr).toContain('in use');
  expect(performance.now() - started).toBeLessThan(5000);
});
