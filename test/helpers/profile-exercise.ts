/** What every machine profile must be able to do, whatever runs it: cold disks, a container on them, hotplug or none. */
import type { AgentConnection } from '../../runtime/agent-client/agent-connection.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { type Outcome, runContainer } from './agent-programs.ts';
import type { AgentVm } from './agent-vm.ts';
import { testSpec } from './container-defaults.ts';
import { connect, type FactoryHarness } from './qemu-factory.ts';
import type { TestDisks } from './test-disks.ts';

/** A machine of a profile with two CPUs, a layer in slot 0, a writable disk in slot 8, and a sandbox. */
export interface ProfileMachine {
  readonly vm: Vm;
  readonly connection: AgentConnection;
  /** Runs a program on both disks. */
  run(args: readonly string[]): Promise<Outcome>;
  /** What came of plugging one more disk: "ok", or the refusal. */
  plug(): Promise<string>;
  stop(): Promise<void>;
}

/** Boots it. */
export async function bootProfile(harness: FactoryHarness, disks: TestDisks, profile: string): Promise<ProfileMachine> {
  const { factory } = await harness.factory();
  const config = harness.config({
    profile,
    vcpus: 2,
    disks: [
      { slot: 0, path: disks.busybox, readOnly: true },
      { slot: 8, path: await disks.scratch(profile), readOnly: false, ephemeral: true },
    ],
  });
  const vm = await factory.start(config);
  try {
    const connection = await connect(vm, true);
    const wallClockNs = BigInt(Date.now()) * 1_000_000n;
    await connection.call.createSandbox({ sandboxId: 's', hostname: 's', wallClockNs, entropy: new Uint8Array(64) });
    return machineOf(vm, connection, disks);
  } catch (error) {
    await vm.stop();
    throw error;
  }
}

function machineOf(vm: Vm, connection: AgentConnection, disks: TestDisks): ProfileMachine {
  const storages = [
    { id: 'layer', block: { pciPath: vm.diskPath(0), fsType: 'squashfs', readOnly: true } },
    { id: 'scratch', block: { pciPath: vm.diskPath(8), fsType: 'ext4', readOnly: false } },
    { id: 'root', overlay: { lowerIds: ['layer'], upperId: 'scratch' } },
  ];
  const agentVm = { connection, call: connection.call } as unknown as AgentVm;
  return {
    vm,
    connection,
    run: (args) => runContainer(agentVm, { containerId: 'c', storages, rootfsId: 'root', spec: testSpec(args) }),
    plug: () =>
      vm.attachDisk({ slot: 1, path: disks.busybox, readOnly: true }).then(
        () => 'ok',
        (error: Error) => error.message,
      ),
    stop: async () => {
      connection.close();
      await vm.stop();
    },
  };
}
