/**
 * A Node stream as a channel of the protocol. It knows nothing of what travels on it.
 */
import type { Duplex } from 'node:stream';
import type { Channel } from '../../agent/protocol/channel.ts';

/** Wraps a connected socket. The channel owns it from here on: closing the channel destroys it. */
export function socketChannel(socket: Duplex): Channel {
  let ended = false;
  let reason: Error | undefined;
  const channel: Channel = {
    write: (bytes) => !ended && socket.write(bytes),
    setReading: (reading) => {
      if (reading) socket.resume();
      else socket.pause();
    },
    onData: () => {},
    onDrain: () => {},
    onEnd: () => {},
    close: () => {
      ended = true;
      socket.destroy();
    },
  };
  const finish = (error?: Error) => {
    if (ended) return;
    ended = true;
    socket.destroy();
    channel.onEnd(error);
  };
  socket.on('data', (bytes: Uint8Array) => channel.onData(bytes));
  socket.on('drain', () => channel.onDrain());
  socket.on('error', (error) => {
    reason = error;
  });
  socket.on('end', () => finish(reason));
  socket.on('close', () => finish(reason));
  // Attaching 'data' made the stream flow; nothing may be lost before the user asks for it.
  socket.pause();
  return channel;
}
