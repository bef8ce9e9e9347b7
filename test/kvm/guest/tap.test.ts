/** A network card on a tap: packets go by vhost where the kernel has it, through QEMU where not, and arrive whole both ways. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, readlinkSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runContainer } from '../../helpers/agent-programs.ts';
import type { AgentVm } from '../../helpers/agent-vm.ts';
import { testSpec } from '../../helpers/container-defaults.ts';
import { connect, type FactoryHarness, openFactoryHarness, useMachine } from '../../helpers/qemu-factory.ts';
import { makeTestDisks, type TestDisks } from '../../helpers/test-disks.ts';
import { eventually } from '../../helpers/tskata.ts';
import { beInKvmHost, HOOK_MS, host } from './host.ts';

const MAC = '02:00:00:00:00:07';
const HERE = '10.9.0.1';
const GUEST = '10.9.0.2';
const BYTES = 4 * 1024 * 1024;

let harness: FactoryHarness;
let disks: TestDisks;
let directory: string;
let file: string;

beforeAll(async () => {
  beInKvmHost();
  harness = await openFactoryHarness();
  disks = await makeTestDisks();
  directory = join(harness.runRoot, 'pages');
  mkdirSync(directory);
  file = join(directory, 'sent');
  writeFileSync(file, randomBytes(BYTES));
}, HOOK_MS);
afterAll(async () => {
  await disks.remove();
  await harness.close();
});

interface Found {
  /** Names of devices that QEMU holds. */
  readonly devices: readonly string[];
  /** Ticks of CPU time that the kernel's thread for this card took; undefined: there is none. */
  readonly vhostTicks: number | undefined;
  readonly received: string;
  readonly sent: number;
}

/** Boots a machine on a tap and has it fetch a file and send bytes. */
async function exercise(): Promise<Found> {
  const { factory, keepers } = await harness.factory({ network: true });
  const nic = { mac: MAC, backend: { type: 'tap', tap: 'tap0' } } as const;
  const disk = { slot: 0, path: disks.busybox, readOnly: true };
  const vm = await factory.start(harness.config({ nics: [nic], disks: [disk] }));
  return await useMachine(vm, async () => {
    const enter = [`--net=${keepers[0]?.network}`];
    await host('nsenter', ...enter, 'ip', 'addr', 'add', `${HERE}/24`, 'dev', 'tap0');
    const connection = await connect(vm, true);
    await connection.call.createSandbox({
      sandboxId: 's',
      hostname: 's',
      wallClockNs: BigInt(Date.now()) * 1_000_000n,
      entropy: new Uint8Array(64),
      network: { interfaces: [{ mac: MAC, name: 'eth0', mtu: 1500, addresses: [`${GUEST}/24`] }] },
    });
    // What listens for the upload must not end its own side first: its input stays open.
    const servers = [
      spawn('nsenter', [...enter, 'busybox', 'httpd', '-f', '-p', '81', '-h', directory]),
      spawn('nsenter', [...enter, 'busybox', 'nc', '-l', '-p', '82']),
    ];
    let sent = 0;
    servers[1]?.stdout.on('data', (bytes: Buffer) => {
      sent += bytes.length;
    });
    const closed = new Promise((resolve) => servers[1]?.once('close', resolve));
    const listening = async () => {
      const sockets = await host('nsenter', ...enter, 'ss', '-ltnH');
      return sockets.includes(':81 ') && sockets.includes(':82 ');
    };
    await eventually(listening, 60_000, 'both servers listen');
    const script = [
      `printf 'GET /sent HTTP/1.0\\r\\n\\r\\n' | nc ${HERE} 81 | tail -c ${BYTES} | md5sum`,
      `dd if=/dev/zero bs=64k count=${BYTES / 65_536} 2>/dev/null | nc ${HERE} 82`,
    ];
    const agentVm = { connection, call: connection.call } as unknown as AgentVm;
    const storages = [{ id: 'root', block: { pciPath: vm.diskPath(0), fsType: 'squashfs', readOnly: true } }];
    const spec = testSpec(['sh', '-c', script.join('\n')]);
    const outcome = await runContainer(agentVm, { containerId: 'c', storages, rootfsId: 'root', spec });
    expect(outcome).toMatchObject({ status: 0, stderr: '' });
    await closed;
    for (const server of servers) server.kill();
    const found = { devices: devicesOf(vm.qemuPid), vhostTicks: vhostTicks(vm.qemuPid) };
    connection.close();
    return { ...found, received: outcome.stdout.split(' ')[0] ?? '', sent };
  });
}

function devicesOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`)
    .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
    .filter((target) => target.startsWith('/dev/'));
}

/** The thread bears the number of the process that it works for; CPU times are fields 14 and 15. */
function vhostTicks(qemuPid: number): number | undefined {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const stat = statOf(pid);
    if (!stat.includes(`(vhost-${qemuPid})`)) continue;
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  }
  return undefined;
}

/** Empty when the process has just ended. */
function statOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return '';
  }
}

describe('a network card on a tap', () => {
  it("is moved by the kernel's vhost thread", { timeout: HOOK_MS }, async () => {
    const found = await exercise();
    expect(found.devices).toContain('/dev/vhost-net');
    expect(found.vhostTicks).toBeGreaterThan(0);
    expect(found.received).toBe((await host('md5sum', file)).split(' ')[0]);
    expect(found.sent).toBe(BYTES);
  });

  it('is moved by QEMU where there is no vhost', { timeout: HOOK_MS }, async () => {
    renameSync('/dev/vhost-net', '/dev/vhost-net.away');
    const found = await exercise().finally(() => renameSync('/dev/vhost-net.away', '/dev/vhost-net'));
    expect(found.devices.filter((device) => device.includes('vhost'))).toEqual([]);
    expect(found.vhostTicks).toBeUndefined();
    expect(found.received).toBe((await host('md5sum', file)).split(' ')[0]);
    expect(found.sent).toBe(BYTES);
  });
});
