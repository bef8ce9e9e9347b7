/**
 * How QEMU and virtiofsd are confined, as the kernel sees it: /proc/PID/{status,ns,root,limits,mountinfo} of the real
 * programs under the real keeper. No guest runs here.
 */

import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Keeper, startKeeper } from '../../runtime/helper-client/keeper.ts';
import { programFiles } from '../../runtime/helper-client/libraries.ts';
import { spawnChild } from '../../runtime/helper-client/process-host.ts';
import { virtiofsdSpec } from '../../runtime/qemu/virtiofsd.ts';
import type { Child, ChildBind } from '../../runtime/vm/process-host.ts';
import { buildHelper, type HelperBuild } from '../helpers/native.ts';

const QEMU = '/usr/bin/qemu-system-x86_64';
const TCG_MODULE = '/usr/lib/x86_64-linux-gnu/qemu/accel-tcg-x86_64.so';
const VIRTIOFSD = '/usr/lib/qemu/virtiofsd';
const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';

let build: HelperBuild;
let keeper: Keeper;
let uid: number;

function proc(child: Child, name: string): string {
  return readFileSync(`/proc/${child.pid}/${name}`, 'utf8');
}

function status(child: Child): Map<string, string> {
  return new Map(
    proc(child, 'status')
      .trim()
      .split('\n')
      .map((line) => {
        const [name = '', value = ''] = line.split(':');
        return [name, value.trim().replace(/\s+/g, ' ')];
      }),
  );
}

function namespace(pid: number | 'self', name: string): string {
  return readlinkSync(`/proc/${pid}/ns/${name}`);
}

/** Mount point -> options of each mount of a process. */
function mounts(child: Child): Map<string, readonly string[]> {
  const lines = proc(child, 'mountinfo').trim().split('\n');
  return new Map(
    lines.map((line) => {
      const [, , , , point = '', options = ''] = line.split(' ');
      return [point, options.split(',')];
    }),
  );
}

async function binds(programs: readonly string[]): Promise<ChildBind[]> {
  const files = await programFiles(programs, join(build.runRoot, '.libraries'));
  return files.map(({ source, target }) => ({ source, target, readOnly: true, executable: true }));
}

beforeAll(async () => {
  build = await buildHelper();
  const inherited = ['qmp', 'stderr'];
  keeper = await startKeeper({ helper: build.helper, runRoot: build.runRoot, inherited, onLog: () => {} });
  ({ uid } = await keeper.call.claimUser({ first: 320_000, count: 16 }));
});

afterAll(async () => {
  await keeper?.close();
  await build?.remove();
});

describe('QEMU', () => {
  let qemu: Child;

  beforeAll(async () => {
    qemu = await spawnChild(
      keeper,
      {
        name: 'qemu',
        executable: QEMU,
        args: [
          ...['-nodefaults', '-no-user-config', '-machine', 'none', '-accel', 'tcg', '-display', 'none'],
          ...['-chardev', 'socket,id=qmp,fd=3', '-mon', 'chardev=qmp,mode=control', '-sandbox', SANDBOX],
          ...['-chardev', 'socket,id=qmp-fd,fd=4', '-mon', 'chardev=qmp-fd,mode=control'],
        ],
        descriptors: [
          { kind: 'inherited', name: 'qmp' },
          { kind: 'pair', name: 'qmp-fd' },
        ],
        jail: {
          binds: await binds([QEMU, TCG_MODULE]),
          network: 'none',
          proc: false,
          newPidNamespace: true,
          keepCapabilities: [],
          additionalGids: [],
        },
      },
      uid,
    );
    const [greeting] = (await once(keeper.socket('qmp'), 'data')) as [Buffer];
    expect(greeting.toString()).toContain('QMP');
  });

  test('has its own user, no groups, no capabilities, no way to more', () => {
    const found = status(qemu);
    expect(found.get('Uid')).toBe(`${uid} ${uid} ${uid} ${uid}`);
    expect(found.get('Gid')).toBe(`${uid} ${uid} ${uid} ${uid}`);
    expect(found.get('Groups')).toBe('');
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) expect(found.get(set)).toMatch(/^0+$/);
    expect(found.get('NoNewPrivs')).toBe('1');
    expect(found.get('Seccomp')).toBe('2');
  });

  test('has its own namespaces', () => {
    for (const name of ['mnt', 'pid', 'net', 'ipc', 'uts']) {
      expect(namespace(qemu.pid, name)).not.toBe(namespace('self', name));
    }
    expect(status(qemu).get('NSpid')).toBe(`${qemu.pid} 1`);
    const devices = proc(qemu, 'net/dev').trim().split('\n').slice(2);
    expect(devices.map((line) => line.trim().split(':')[0])).toEqual(['lo']);
  });

  test('has a root that holds only its files', () => {
    const found = mounts(qemu);
    const points = [...found.keys()];
    expect(points.filter((point) => !/^\/(usr\/)?(bin|lib|lib64)\/.+/.test(point))).toEqual(['/', '/dev']);
    for (const [point, options] of found) {
      expect(options).toContain('ro');
      expect(options).toContain('nosuid');
      if (point !== '/dev') expect(options).toContain('nodev');
      if (point !== '/' && point !== '/dev') expect(statSync(`/proc/${qemu.pid}/root${point}`).isFile()).toBe(true);
    }
    expect(readdirSync(`/proc/${qemu.pid}/root`).sort()).toEqual(['dev', 'lib', 'lib64', 'usr']);
    expect(readdirSync(`/proc/${qemu.pid}/root/dev`).sort()).toEqual(['null', 'urandom', 'zero']);
  });

  test('leaves no core dump', () => {
    expect(proc(qemu, 'limits')).toMatch(/^Max core file size\s+0\s+0\s/m);
  });

  test('gets descriptors of disks over its second monitor', async () => {
    const disk = join(build.directory, 'disk');
    writeFileSync(disk, 'x');
    await keeper.call.addDescriptor({ fdset: 7, file: { path: disk, writable: false } });
    await keeper.call.addDescriptor({ fdset: 8, file: { path: disk, writable: true } });
    await expect(keeper.call.addDescriptor({ fdset: 9, file: { path: '/no/such', writable: false } })).rejects.toThrow(
      'ENOENT',
    );
    const qmp = keeper.socket('qmp');
    qmp.write('{"execute":"qmp_capabilities"}\n{"execute":"query-fdsets"}\n');
    let answer = '';
    while (!answer.includes('fdset-id')) answer += String(((await once(qmp, 'data')) as [Buffer])[0]);
    expect(answer).toContain('"fdset-id": 7');
    expect(answer).toContain('"fdset-id": 8');
    expect(answer).not.toContain('"fdset-id": 9');
    const targets = readdirSync(`/proc/${qemu.pid}/fd`).map((fd) => readlinkSync(`/proc/${qemu.pid}/fd/${fd}`));
    expect(targets.filter((target) => target === disk)).toHaveLength(2);
  });
});

describe('virtiofsd', () => {
  let daemon: Child;

  beforeAll(async () => {
    const shared = join(build.directory, 'shared');
    mkdirSync(shared);
    writeFileSync(join(shared, 'file'), 'x');
    const socket = join(build.directory, 'share.sock');
    const program = { kind: 'c' as const, executable: VIRTIOFSD, binds: await binds([VIRTIOFSD]) };
    const share = { tag: 'test', directory: shared, readOnly: false };
    daemon = await spawnChild(keeper, virtiofsdSpec(program, 0, share, socket), uid);
    // It confines itself further once its peer is there.
    const peer = createConnection(socket);
    await once(peer, 'connect');
    for (let round = 0; round < 200 && status(daemon).get('Seccomp') !== '2'; round++) {
      // No event tells when it has done so.
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  });

  test('has the capabilities of files alone, and none to make devices or to mount', () => {
    const found = status(daemon);
    const CHOWN_DAC_FOWNER_FSETID_SETGID_SETUID_SETFCAP = '00000000800000db';
    expect(found.get('CapEff')).toBe(CHOWN_DAC_FOWNER_FSETID_SETGID_SETUID_SETFCAP);
    expect(found.get('NoNewPrivs')).toBe('1');
    expect(found.get('Seccomp')).toBe('2');
  });

  test('sees the shared directory, and nothing above it', () => {
    expect(readdirSync(`/proc/${daemon.pid}/root`)).toEqual(['file']);
    const found = mounts(daemon);
    expect(found.get('/share') ?? found.get('/')).toContain('nodev');
    for (const name of ['mnt', 'pid', 'net', 'ipc', 'uts']) {
      expect(namespace(daemon.pid, name)).not.toBe(namespace('self', name));
    }
  });
});
