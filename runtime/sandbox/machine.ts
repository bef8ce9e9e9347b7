/**
 * Owns a booted machine with an agent that answers: both live and end together. Refuses to know containers.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../agent/protocol/channel.ts';
import type { NetworkConfig } from '../../agent/protocol/generated/agent.ts';
import type { Init } from '../../agent/protocol/message.ts';
import { Scope } from '../../agent/protocol/scope.ts';
import type { Logger } from '../host/log.ts';
import { step, within } from '../host/step.ts';
import type { Vm, VmConfig, VmFactory } from '../vm/vm.ts';
import { BOOT_MS, DESTROY_CALL_MS, QUICK_CALL_MS } from './deadlines.ts';
import { describeEnd, EndWatch } from './end-watch.ts';
import type { ConnectGuest, GuestConnection } from './guest.ts';

/** Bytes of entropy that a guest starts with. */
const ENTROPY_BYTES = 64;
const NS_PER_MS = 1_000_000n;
/** Between the end of the ports and that of QEMU; exits must be known within a second. */
const ENDING_MS = 300;

/** How machines and agents are had. */
export interface MachineParts {
  readonly vmFactory: VmFactory;
  readonly connectGuest: ConnectGuest;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What the guest is told once it is up. */
export interface GuestIdentity {
  readonly sandboxId: string;
  readonly hostname: string;
  readonly network: Init<NetworkConfig>;
}

/** A machine whose agent has answered. */
export class Machine {
  readonly vm: Vm;
  readonly guest: GuestConnection;
  /** Resolves with the reason, for people, once the machine is gone. Never rejects. */
  readonly ended: Promise<string>;
  readonly #watch: EndWatch;
  #failure: string | undefined;

  constructor(vm: Vm, guest: GuestConnection) {
    this.vm = vm;
    this.guest = guest;
    this.#watch = new EndWatch(vm);
    void guest.closed.then(async (error) => {
      // A machine that ends closes its ports first: that is the reason then, not the connection.
      await within(ENDING_MS, vm.ended, undefined);
      this.fail(`the connection to the agent ended: ${error.message}`);
    });
    this.ended = vm.ended.then((end) => {
      guest.close();
      return this.#failure === undefined ? describeEnd(end) : `${this.#failure}; ${describeEnd(end)}`;
    });
  }

  /** Kills the machine because it cannot be trusted to work any more. */
  fail(reason: string): void {
    this.#failure ??= reason;
    void this.vm.stop();
  }

  /** The result of a call to the guest; when that fails because the machine has ended, the error says why it did. */
  async explained<T>(call: Promise<T>): Promise<T> {
    return await this.#watch.untilEnd(call);
  }

  /** Asks the guest to end its containers and write back its disks, then ends the machine. Idempotent. */
  async destroy(): Promise<void> {
    try {
      await this.guest.call.destroySandbox({ powerOff: false }, { timeoutMs: DESTROY_CALL_MS });
    } catch {
      // A guest that does not answer is killed; there is nothing else to do for its data.
    }
    this.#failure ??= 'it was shut down';
    await this.vm.stop();
    await this.ended;
  }
}

/** Boots, connects and introduces. An error names the step and carries the console's last lines; nothing is left. */
export async function bootMachine(config: VmConfig, identity: GuestIdentity, parts: MachineParts): Promise<Machine> {
  const scope = new Scope();
  try {
    const startedMs = parts.clock.now();
    const vm = await step('boot the virtual machine', () => parts.vmFactory.start(config));
    scope.add(() => vm.stop());
    const bootedMs = parts.clock.now();
    const watch = new EndWatch(vm);
    const guest = await step('connect to the agent', () =>
      watch.untilEnd(parts.connectGuest(vm.control, vm.bytes, parts.clock, { fresh: true, timeoutMs: BOOT_MS })),
    );
    scope.add(() => guest.close());
    await step('set up the guest', () => watch.untilEnd(introduce(guest, identity)));
    parts.log.info('machine is up', {
      accelerator: vm.accelerator,
      qemuPid: vm.qemuPid,
      vmMs: Math.round(bootedMs - startedMs),
      agentMs: Math.round(parts.clock.now() - bootedMs),
    });
    return new Machine(vm, guest);
  } catch (error) {
    await scope.close();
    throw error;
  }
}

async function introduce(guest: GuestConnection, identity: GuestIdentity): Promise<void> {
  await guest.call.createSandbox(
    {
      sandboxId: identity.sandboxId,
      hostname: identity.hostname,
      wallClockNs: BigInt(Date.now()) * NS_PER_MS,
      entropy: randomBytes(ENTROPY_BYTES),
      network: identity.network,
    },
    { timeoutMs: QUICK_CALL_MS },
  );
}
