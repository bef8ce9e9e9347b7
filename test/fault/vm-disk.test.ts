/** A host disk that is full under a sparse writable disk: the writer gets an error, and the machine lives on. */
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runContainer } from '../helpers/agent-programs.ts';
import type { AgentVm } from '../helpers/agent-vm.ts';
import { testSpec } from '../helpers/container-defaults.ts';
import { connect, type FactoryHarness, openFactoryHarness } from '../helpers/qemu-factory.ts';
import { makeTestDisks, type TestDisks } from '../helpers/test-disks.ts';

const ROOM_MIB = 16;
let harness: FactoryHarness;
let disks: TestDisks;
let small: string;

beforeAll(async () => {
  harness = await openFactoryHarness();
  disks = await makeTestDisks();
  small = join(harness.runRoot, 'small');
  await mkdir(small);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${ROOM_MIB}m`, 'small', small]);
});
afterAll(async () => {
  execFileSync('umount', [small]);
  await disks.remove();
  await harness.close();
});

it('a full host disk is an error for the container that writes, not the end of the machine', async () => {
  const scratch = join(small, 'scratch.ext4');
  execFileSync('cp', ['--sparse=always', await disks.scratch('full', 256), scratch]);
  const layer = join(harness.runRoot, 'layer');
  await copyFile(disks.busybox, layer);
  const { factory } = await harness.factory();
  const vm = await factory.start(
    harness.config({
      disks: [
        { slot: 0, path: layer, readOnly: true },
        { slot: 8, path: scratch, readOnly: false, ephemeral: true },
      ],
    }),
  );
  try {
    const connection = await connect(vm, true);
    const wallClockNs = BigInt(Date.now()) * 1_000_000n;
    await connection.call.createSandbox({ sandboxId: 's', hostname: 's', wallClockNs, entropy: new Uint8Array(64) });
    const storages = [
      { id: 'layer', block: { pciPath: vm.diskPath(0), fsType: 'squashfs', readOnly: true } },
      { id: 'scratch', block: { pciPath: vm.diskPath(8), fsType: 'ext4', readOnly: false } },
      { id: 'root', overlay: { lowerIds: ['layer'], upperId: 'scratch' } },
    ];
    const fill = `dd if=/dev/zero of=/big bs=1M count=${ROOM_MIB * 4} conv=fsync 2>&1 || echo refused`;
    const agentVm = { connection, call: connection.call } as unknown as AgentVm;
    const request = { containerId: 'c', storages, rootfsId: 'root', spec: testSpec(['sh', '-c', fill]) };
    const { stdout } = await runContainer(agentVm, request);
    expect(stdout).toMatch(/(No space left|I\/O error|Input\/output error|Read-only)[\s\S]*refused/i);
    await connection.call.guestInfo({}, { timeoutMs: 10_000 });
    connection.close();
  } finally {
    await vm.stop();
  }
});
