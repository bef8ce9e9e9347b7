/**
 * The shim's connection to the native helper of its sandbox: ttrpc on an inherited socket pair. It knows no jail and no
 * QEMU.
 */
import type { Channel, Clock } from '../../agent/protocol/channel.ts';
import type { TskataError } from '../../agent/protocol/errors.ts';
import { Helper } from '../../agent/protocol/generated/helper.ts';
import { MAX_AGENT_MESSAGE_BYTES } from '../../agent/protocol/limits.ts';
import type { Client } from '../../agent/protocol/service.ts';
import { createClient, TtrpcClient } from '../../agent/protocol/ttrpc/client.ts';
import { ChannelPipe } from '../../agent/protocol/ttrpc/pipe.ts';

export interface HelperConnection {
  readonly call: Client<typeof Helper>;
  /** Resolves when the helper is gone; never rejects, and not after `close`. */
  readonly closed: Promise<TskataError>;
  close(): void;
}

export function connectHelper(channel: Channel, clock: Clock): HelperConnection {
  const client = new TtrpcClient(new ChannelPipe(channel, MAX_AGENT_MESSAGE_BYTES), clock);
  const closed = new Promise<TskataError>((resolve) => {
    client.onEnd = resolve;
  });
  return { call: createClient(Helper, client), closed, close: () => client.close() };
}
