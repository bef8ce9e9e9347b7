/** The Task API of a running shim, asked directly: what it knows beside what containerd believes. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { MAX_TTRPC_MESSAGE_BYTES } from '../../agent/protocol/limits.ts';
import type { Client } from '../../agent/protocol/service.ts';
import { createClient, TtrpcClient } from '../../agent/protocol/ttrpc/client.ts';
import { ChannelPipe } from '../../agent/protocol/ttrpc/pipe.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { socketChannel } from '../../runtime/host/socket-channel.ts';
import { Task } from '../../shim/task/generated/task.ts';

/** A connection to a shim's socket. */
export interface ShimClient {
  readonly task: Client<typeof Task>;
  close(): void;
}

/** `service`: the name of the Task service that is called. */
export async function connectShim(socketPath: string, service: string = Task.typeName): Promise<ShimClient> {
  const socket = connect(socketPath);
  await once(socket, 'connect');
  const channel = socketChannel(socket);
  const client = new TtrpcClient(new ChannelPipe(channel, MAX_TTRPC_MESSAGE_BYTES), nodeClock);
  const task = createClient({ ...Task, typeName: service }, client);
  channel.setReading(true);
  return { task, close: () => socket.destroy() };
}
