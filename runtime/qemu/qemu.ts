/**
 * The QEMU implementation of `VmFactory`: checks, launches, waits for the guest, and turns whatever went wrong into one
 * error with nothing left behind. It knows no container and does not decide what a machine is for.
 */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { totalmem } from 'node:os';
import path from 'node:path';
import type { Clock } from '../../agent/protocol/channel.ts';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { ProcessHostFactory } from '../vm/process-host.ts';
import type { VmConfig, VmFactory } from '../vm/vm.ts';
import { MachineEnded } from './failure.ts';
import type { HostFacts } from './host-facts.ts';
import { describeDisk } from './hotplug.ts';
import { identityOf } from './identity.ts';
import { type Launched, type LaunchInput, launch } from './launch.ts';
import type { Machine } from './machine-handle.ts';
import { loadProfile, type MachineProfile } from './profile.ts';
import { continueSaved } from './restore.ts';
import { checkRecord } from './saved.ts';
import { diskPlace, MAX_NICS, MAX_SHARES } from './slots.ts';
import { isVhostUsable, VHOST_NET } from './vhost.ts';

/** Less does not hold the kernel, the agent and their page tables. */
const MIN_MEMORY_MIB = 64;
const MAX_VCPUS = 64;
const MIB = 1024 * 1024;

/** Where the factory's machines live. */
export interface QemuFactoryOptions {
  /** Directory of the machine profiles. */
  readonly configDirectory: string;
  /** Directory of this sandbox (0700), for console.log. */
  readonly stateDirectory: string;
  /** Made for sockets, whose paths may have 107 bytes; below the state directory when not given. */
  readonly socketDirectory?: string;
  /** What this host can do; `probeHost` finds it out. */
  readonly facts: () => Promise<HostFacts>;
  /** Makes the process host of each machine. */
  readonly processHost: ProcessHostFactory;
  readonly clock: Clock;
}

/** Makes machines with QEMU. */
export function createQemuFactory(options: QemuFactoryOptions): VmFactory {
  return {
    start: async (config) => {
      const input = await prepare(options, config);
      const { machine, transport } = await launch(input);
      await waitUntilReady(machine, transport.connect(machine, false), input, 'boot VM');
      return machine;
    },
    restore: async (config, directory) => {
      const input = await prepare(options, config);
      await checkRecord(directory, await identityOf(input.profile, config, input.facts));
      const launched = await launch({ ...input, restoreFrom: directory });
      await waitUntilReady(launched.machine, resumeSaved(launched), input, `restore VM from ${directory}`);
      return launched.machine;
    },
  };
}

/** Everything that can be wrong before QEMU starts. */
async function prepare(options: QemuFactoryOptions, config: VmConfig): Promise<LaunchInput> {
  checkSizes(config);
  await assertReadable('guest kernel', config.kernel, 'build it, or name another');
  await assertReadable('initrd', config.initrd, 'build it, or name another');
  const hostDevices = new Set<string>();
  for (const disk of config.disks) {
    diskPlace('bridge', disk.slot);
    if ((await describeDisk(disk.path)).hostDevice) hostDevices.add(disk.path);
  }
  const vhostNet = config.nics.some(({ backend }) => backend.type === 'tap') && (await isVhostUsable(VHOST_NET));
  const facts = await options.facts();
  const profile = await chooseProfile(options.configDirectory, config, facts);
  const { stateDirectory, processHost, clock } = options;
  const socketDirectory = options.socketDirectory ?? path.join(stateDirectory, 'sockets');
  return { config, profile, facts, hostDevices, vhostNet, stateDirectory, socketDirectory, processHost, clock };
}

async function chooseProfile(directory: string, config: VmConfig, facts: HostFacts): Promise<MachineProfile> {
  const { accelerator } = facts;
  const name = config.profile === 'auto' ? `q35-${accelerator.name}` : config.profile;
  const profile = await loadProfile(directory, name);
  if (profile.accelerator === 'kvm' && accelerator.name === 'tcg') {
    throw new TskataError(Code.FailedPrecondition, `machine profile ${name}: it needs KVM; ${accelerator.reason}`);
  }
  return profile;
}

function checkSizes(config: VmConfig): void {
  const { memoryMib, vcpus } = config;
  const hostMib = Math.floor(totalmem() / MIB);
  if (!Number.isInteger(memoryMib) || memoryMib < MIN_MEMORY_MIB) {
    throw new TskataError(
      Code.InvalidArgument,
      `start VM: ${memoryMib} MiB of memory; at least ${MIN_MEMORY_MIB} are needed`,
    );
  }
  if (memoryMib > hostMib) {
    throw new TskataError(
      Code.ResourceExhausted,
      `start VM: ${memoryMib} MiB of memory, more than the ${hostMib} MiB of this host; ask for less`,
    );
  }
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_VCPUS) {
    throw new TskataError(Code.InvalidArgument, `start VM: ${vcpus} CPUs; 1 to ${MAX_VCPUS} are possible`);
  }
  if (config.shares.length > MAX_SHARES) {
    throw new TskataError(
      Code.ResourceExhausted,
      `start VM: ${config.shares.length} shares, at most ${MAX_SHARES} fit`,
    );
  }
  if (config.nics.length > MAX_NICS) {
    throw new TskataError(
      Code.ResourceExhausted,
      `start VM: ${config.nics.length} network cards, at most ${MAX_NICS} fit`,
    );
  }
  const slots = config.disks.map((disk) => disk.slot);
  if (new Set(slots).size !== slots.length) {
    throw new TskataError(Code.InvalidArgument, `start VM: two disks in one slot (${slots.join(', ')})`);
  }
}

async function assertReadable(what: string, file: string, cure: string): Promise<void> {
  await access(file, constants.R_OK).catch(() => {
    throw new TskataError(Code.NotFound, `start VM: ${what} ${file} is missing or not readable; ${cure}`);
  });
}

/** The one race of a start: the guest is there, the machine has ended, or time is up. */
async function waitUntilReady(
  machine: Machine,
  ready: Promise<void>,
  input: LaunchInput,
  phase: string,
): Promise<void> {
  const { bootTimeoutMs } = input.profile;
  let cancel = () => {};
  const deadline = new Promise<never>((_, reject) => {
    cancel = input.clock.timer(bootTimeoutMs, () =>
      reject(new Error(`the guest did not open the agent's ports within ${bootTimeoutMs} ms`)),
    );
  });
  const ended = machine.ended.then((end) => Promise.reject(new MachineEnded(phase, end)));
  try {
    await Promise.race([ready, deadline, ended]);
  } catch (error) {
    // Whoever waits for the machine's end learns why it had to end.
    if (!(error instanceof MachineEnded)) machine.fail(error instanceof Error ? error.message : String(error));
    await machine.stop();
    throw error instanceof MachineEnded ? error : new MachineEnded(phase, await machine.ended);
  } finally {
    cancel();
    ended.catch(() => undefined);
  }
}

async function resumeSaved(launched: Launched): Promise<void> {
  const { deviceStateFd, machine, qmp, transport } = launched;
  if (deviceStateFd === undefined) throw new Error('the machine was not started for a restore');
  await continueSaved(machine, qmp, deviceStateFd);
  await transport.connect(machine, true);
}
