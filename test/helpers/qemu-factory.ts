/**
 * The QEMU factory as a shim would have it, for tests: real keeper, real jail, the built guest. Each machine gets a state
 * directory of its own below one temporary run root, which `close` removes.
 */
import { access, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type AgentConnection, connectAgent } from '../../runtime/agent-client/agent-connection.ts';
import { startKeeper } from '../../runtime/helper-client/keeper.ts';
import { keeperProcessHost } from '../../runtime/helper-client/process-host.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import type { HostFacts } from '../../runtime/qemu/host-facts.ts';
import { probeHost } from '../../runtime/qemu/probe.ts';
import { createQemuFactory } from '../../runtime/qemu/qemu.ts';
import { INHERITED, type ProcessHost } from '../../runtime/vm/process-host.ts';
import type { Vm, VmConfig, VmFactory } from '../../runtime/vm/vm.ts';

const ROOT = join(import.meta.dirname, '../..');
const LIB = join(ROOT, 'build/lib');
export const CONFIGS = join(ROOT, 'qemu-configs');
const KERNEL = join(LIB, 'guest/vmlinux');
const INITRD = join(LIB, 'guest/initrd.img');
const HELPER = join(LIB, 'tskata-helper');
/** A connection breaks a moment before the end of its machine is known. */
const END_MS = 2_000;
/** Generous: the machine may be busy with other tests. */
const CALL = { timeoutMs: 60_000 };

/** What a test may know of a keeper. */
interface KeeperFacts {
  readonly pid: number;
  /** Path by which its network namespace is entered; empty without one. */
  readonly network: string;
}

/** A factory maker and what belongs to it. */
export interface FactoryHarness {
  /** Removed by `close`. */
  readonly runRoot: string;
  /** A factory for one more machine; the log of its keeper goes to `log`. */
  factory(overrides?: {
    readonly facts?: Partial<HostFacts>;
    readonly processHost?: () => Promise<ProcessHost>;
    /** The keeper has a network namespace of its own, for a tap. */
    readonly network?: boolean;
  }): Promise<{
    readonly factory: VmFactory;
    readonly stateDirectory: string;
    readonly keepers: KeeperFacts[];
    readonly log: string[];
  }>;
  /** A configuration of the built guest. */
  config(changes?: Partial<VmConfig>): VmConfig;
  close(): Promise<void>;
}

/** Makes a harness. @throws when the guest has not been built. */
export async function openFactoryHarness(): Promise<FactoryHarness> {
  for (const file of [KERNEL, INITRD, HELPER]) await access(file);
  const runRoot = await mkdtemp(join(tmpdir(), 'tskata-vm-'));
  let machines = 0;
  return {
    runRoot,
    factory: async (overrides = {}) => {
      machines += 1;
      const stateDirectory = join(runRoot, `machine-${machines}`);
      await mkdir(stateDirectory, { mode: 0o700 });
      const log: string[] = [];
      const keepers: KeeperFacts[] = [];
      const factory = createQemuFactory({
        configDirectory: CONFIGS,
        stateDirectory,
        facts: async () => ({ ...(await probeHost({ runRoot })), ...overrides.facts }),
        processHost: overrides.processHost ?? (() => keeperHost(runRoot, log, keepers, overrides.network === true)),
        clock: nodeClock,
      });
      return { factory, stateDirectory, keepers, log };
    },
    config: (changes = {}) => ({
      profile: 'auto',
      memoryMib: 256,
      vcpus: 1,
      kernel: KERNEL,
      initrd: INITRD,
      disks: [],
      shares: [],
      nics: [],
      debug: false,
      ...changes,
    }),
    close: () => rm(runRoot, { recursive: true, force: true }),
  };
}

async function keeperHost(
  runRoot: string,
  log: string[],
  keepers: KeeperFacts[],
  network: boolean,
): Promise<ProcessHost> {
  const keeper = await startKeeper({
    helper: HELPER,
    runRoot,
    inherited: [...INHERITED],
    onLog: (line) => log.push(line),
  });
  const { path } = network ? await keeper.call.openNetwork({ path: '' }, CALL) : { path: '' };
  keepers.push({ pid: keeper.pid, network: path });
  const { uid } = await keeper.call.claimUser({ first: 200_000, count: 1000 }, CALL);
  return keeperProcessHost(keeper, uid);
}

/** What is done with a machine; when that fails because the machine has ended, the error says how. Stops it. */
export async function useMachine<T>(vm: Vm, use: () => Promise<T>): Promise<T> {
  try {
    return await use();
  } catch (error) {
    const end = await Promise.race([vm.ended, sleep(END_MS)]);
    if (end === undefined) throw error;
    const words = [String(error), end.message, ...end.consoleTail, ...end.stderrTail].join('\n');
    throw new Error(words, { cause: error });
  } finally {
    await vm.stop();
  }
}

/** Connects to the agent of a machine. `fresh`: it has just booted. */
export function connect(vm: Vm, fresh: boolean): Promise<AgentConnection> {
  return connectAgent(vm.control, vm.bytes, nodeClock, { fresh, timeoutMs: CALL.timeoutMs });
}
