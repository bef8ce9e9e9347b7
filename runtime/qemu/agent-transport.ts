/**
 * How a machine's agent is reached, beyond what QEMU does by itself. Ports of virtio-serial need nothing: QEMU says when
 * the guest has opened them. Vsock needs an address before QEMU starts, and afterwards a relay between the guest's
 * sockets and ours; that the agent is there is known by its greeting.
 */
import type { Channel } from '../../agent/protocol/channel.ts';
import { TskataError } from '../../agent/protocol/errors.ts';
import type { ProcessHost } from '../vm/process-host.ts';
import type { MachineProfile } from './profile.ts';

/** What a launch has prepared. */
export interface AgentTransport {
  /** Address of the machine; absent for ports. */
  readonly vsockCid?: number;
  /**
   * Settles when the way to the agent is open, on a machine that runs; at most once. `restored`: it goes on from a saved
   * state, in which ports are open already, while vsock connections are cut by the restore and made anew.
   */
  connect(machine: ConnectableMachine, restored: boolean): Promise<void>;
}

/** What is needed of a machine. */
interface ConnectableMachine {
  readonly control: Channel;
  readonly bytes: Channel;
  /** The guest has opened both ports. */
  readonly ready: Promise<void>;
}

/** Prepares before QEMU's start. @throws TskataError when the profile wants vsock and the host has none. */
export async function prepareTransport(profile: MachineProfile, host: ProcessHost): Promise<AgentTransport> {
  if (profile.agentTransport === 'serial')
    return { connect: async ({ ready }, restored) => (restored ? undefined : ready) };
  const vsockCid = await claim(profile, host);
  return {
    vsockCid,
    connect: async ({ control, bytes }) => {
      const greeted = Promise.all([greeting(control, 'control'), greeting(bytes, 'bytes')]);
      greeted.catch(() => undefined);
      await host.relayVsock(vsockCid);
      await greeted;
    },
  };
}

async function claim(profile: MachineProfile, host: ProcessHost): Promise<number> {
  try {
    return await host.claimVsock();
  } catch (error) {
    const { code, message } = TskataError.from(error);
    const cure = 'load the module vhost_vsock, or take a profile without vsock';
    throw new TskataError(code, `machine profile ${profile.name}: ${message} - ${cure}`, error);
  }
}

/** The first bytes; nothing else comes before the host has spoken. */
function greeting(channel: Channel, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    channel.onData = () => {
      channel.setReading(false);
      resolve();
    };
    channel.onEnd = () => reject(new Error(`the relay of the agent's ${name} connection ended`));
    channel.setReading(true);
  });
}
