/** What an idle sandbox costs: memory of every host process, and of the guest before it has a container. */
import { connect, openFactoryHarness } from '../helpers/qemu-factory.ts';
import { Tskata } from '../helpers/tskata.ts';
import { descendants, type Footprint, footprint, programName } from './processes.ts';

export interface Idle {
  /** By program name; several of one name are added. */
  readonly processes: Readonly<Record<string, Footprint>>;
  readonly total: Footprint;
  /** RAM size minus MemAvailable, agent idle, no container. */
  readonly guestUsedBytes: number;
  readonly guestRamBytes: number;
  readonly agentResidentBytes: number;
}

const SETTLE_MS = 5_000;
const GUEST_MIB = 512;

export async function measureIdle(): Promise<Idle> {
  return { ...(await measureHost()), ...(await measureGuest()) };
}

async function measureHost(): Promise<Pick<Idle, 'processes' | 'total'>> {
  const tskata = await Tskata.withBusybox();
  try {
    const id = await tskata.ok('run', '-d', 'busybox', 'sleep', '1000');
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const record = tskata.record(id);
    const processes: Record<string, Footprint> = {};
    for (const pid of descendants(record.shim.pid)) {
      const name = programName(pid);
      const { pssKb, privateDirtyKb } = footprint(pid);
      const before = processes[name] ?? { pssKb: 0, privateDirtyKb: 0 };
      processes[name] = { pssKb: before.pssKb + pssKb, privateDirtyKb: before.privateDirtyKb + privateDirtyKb };
    }
    const sum = (field: keyof Footprint): number =>
      Object.values(processes).reduce((total, one) => total + one[field], 0);
    await tskata.ok('rm', '-f', id);
    return { processes, total: { pssKb: sum('pssKb'), privateDirtyKb: sum('privateDirtyKb') } };
  } finally {
    tskata.dispose();
  }
}

async function measureGuest(): Promise<Pick<Idle, 'guestUsedBytes' | 'guestRamBytes' | 'agentResidentBytes'>> {
  const harness = await openFactoryHarness();
  try {
    const { factory } = await harness.factory();
    const vm = await factory.start(harness.config({ memoryMib: GUEST_MIB }));
    try {
      const connection = await connect(vm, true);
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      const info = await connection.call.guestInfo({});
      const guestRamBytes = GUEST_MIB * 1024 * 1024;
      return {
        guestUsedBytes: guestRamBytes - Number(info.memoryAvailable),
        guestRamBytes,
        agentResidentBytes: Number(info.agentResident),
      };
    } finally {
      await vm.stop();
    }
  } finally {
    await harness.close();
  }
}
