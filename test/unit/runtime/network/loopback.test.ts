/** The forwarder on a listener that somebody else made, with real connections. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { LoopbackForwarder } from '../../../../runtime/network/loopback.ts';
import type { GuestStream } from '../../../../runtime/sandbox/guest.ts';

const opened: { close(): unknown }[] = [];

afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});

/** A stream that gives back what it gets. */
function echo(): GuestStream {
  const chunks: Uint8Array[] = [];
  const ended = Promise.withResolvers<void>();
  return {
    id: 1,
    write: (bytes) => {
      chunks.push(bytes);
      return Promise.resolve();
    },
    end: () => ended.resolve(),
    abort: () => ended.resolve(),
    async *[Symbol.asyncIterator]() {
      await ended.promise;
      yield* chunks;
    },
  };
}

/** A forwarder on a listener of one address; the listener's port. */
async function forward(host: string): Promise<{ forwarder: LoopbackForwarder; port: number }> {
  const listener: Server = createServer();
  listener.listen(0, host);
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  // The handle of a server is what the keeper's channel gives, too.
  const forwarder = await LoopbackForwarder.open((listener as unknown as { _handle: object })._handle);
  opened.push(forwarder);
  return { forwarder, port };
}

async function say(host: string, port: number): Promise<string> {
  const socket: Socket = connect({ host, port });
  socket.end('words');
  let said = '';
  socket.on('data', (bytes: Buffer) => {
    said += bytes.toString();
  });
  await once(socket, 'close');
  return said;
}

test("a connection goes to the port that it was for, and to the guest's other family when one refuses", async () => {
  const { forwarder, port } = await forward('127.0.0.1');
  const dialled: string[] = [];
  forwarder.start((_, address) => {
    dialled.push(address);
    return address.startsWith('127') ? Promise.reject(new Error('refused')) : Promise.resolve(echo());
  });
  expect(await say('127.0.0.1', port)).toBe('words');
  expect(dialled).toEqual([`127.0.0.1:${port}`, `[::1]:${port}`]);
});

test('IPv6 is asked for IPv6 alone, and a refusal is a reset', async () => {
  const { forwarder, port } = await forward('::1');
  const dialled: string[] = [];
  forwarder.start((_, address) => {
    dialled.push(address);
    return Promise.reject(new Error('refused'));
  });
  await expect(say('::1', port)).rejects.toThrow('ECONNRESET');
  expect(dialled).toEqual([`[::1]:${port}`]);
});

test('connections of before the guest wait for it', async () => {
  const { forwarder, port } = await forward('127.0.0.1');
  const said = say('127.0.0.1', port);
  await new Promise((resolve) => setImmediate(resolve));
  forwarder.start(() => Promise.resolve(echo()));
  expect(await said).toBe('words');
});
