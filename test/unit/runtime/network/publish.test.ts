/** Published ports with real sockets on both sides; the guest's streams are made of a second real socket pair. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { Code, TskataError } from '../../../../agent/protocol/errors.ts';
import { PublishedPorts } from '../../../../runtime/network/publish.ts';
import type { GuestStream } from '../../../../runtime/sandbox/guest.ts';

const opened: { close(): unknown }[] = [];

afterEach(async () => {
  for (const one of opened.splice(0)) await one.close();
});

/** A stream whose guest side is a socket; writes resolve with its credit. */
function streamOf(socket: Socket): GuestStream {
  return {
    id: 1,
    write: async (bytes) => {
      if (socket.destroyed) throw new Error('aborted');
      if (!socket.write(bytes)) await once(socket, 'drain');
    },
    end: () => void socket.end(),
    abort: () => void socket.destroy(),
    [Symbol.asyncIterator]: () => socket.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array>,
  };
}

async function guestServer(serve: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    serve(socket);
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  opened.push(server);
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function dialTo(port: number): Promise<GuestStream> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await once(socket, 'connect');
  socket.on('error', () => {});
  return streamOf(socket);
}

async function publish(serve: (socket: Socket) => void): Promise<{ ports: PublishedPorts; port: number }> {
  const guestPort = await guestServer(serve);
  const ports = await PublishedPorts.open([{ hostIp: '127.0.0.1', hostPort: 0, containerPort: 80 }]);
  opened.push(ports);
  ports.start(() => dialTo(guestPort));
  return { ports, port: ports.hostPorts[0] ?? 0 };
}

function client(port: number): Socket {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => {});
  return socket;
}

async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

test('bytes go both ways, and each side can end alone', async () => {
  const { port } = await publish(async (socket) => {
    const request = await readAllHalf(socket);
    socket.end(`got ${request.length}`);
  });
  const socket = client(port);
  socket.end(Buffer.alloc(300_000, 1));
  expect((await readAll(socket)).toString()).toBe('got 300000');
});

async function readAllHalf(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

test('the guest can end first and still read', async () => {
  let received: Promise<Buffer> | undefined;
  const { port } = await publish((socket) => {
    socket.end('bye');
    received = readAllHalf(socket);
  });
  const socket = client(port);
  expect((await readAllHalf(socket)).toString()).toBe('bye');
  socket.end('late');
  expect((await received)?.toString()).toBe('late');
});

test('a slow reader stops the writer', async () => {
  let written = 0;
  const { port } = await publish((socket) => {
    const push = (): void => {
      for (let room = true; room && written < 256 << 20; ) {
        written += 1 << 16;
        room = socket.write(Buffer.alloc(1 << 16));
      }
    };
    socket.on('drain', push);
    push();
  });
  const socket = client(port);
  socket.pause();
  await once(socket, 'connect');
  // Buffers fill at the pace of a loaded machine; a writer that nobody stops comes to its end.
  for (let before = -1; before !== written; ) {
    before = written;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  expect(written).toBeLessThan(64 << 20);
  socket.destroy();
});

test('connections that come before the guest is up wait for it', async () => {
  const guestPort = await guestServer((socket) => socket.end('up'));
  const ports = await PublishedPorts.open([{ hostIp: '127.0.0.1', hostPort: 0, containerPort: 80 }]);
  opened.push(ports);
  const socket = client(ports.hostPorts[0] ?? 0);
  await once(socket, 'connect');
  ports.start(() => dialTo(guestPort));
  expect((await readAll(socket)).toString()).toBe('up');
});

test('a port on which nobody listens in the guest resets the connection', async () => {
  const ports = await PublishedPorts.open([{ hostIp: '127.0.0.1', hostPort: 0, containerPort: 80 }]);
  opened.push(ports);
  ports.start(() => Promise.reject(new Error('refused')));
  const socket = connect({ port: ports.hostPorts[0] ?? 0, host: '127.0.0.1' });
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
  expect(error.code).toBe('ECONNRESET');
  await vi.waitFor(() => expect(ports.connections).toBe(0));
});

test('a client that vanishes ends the stream, a guest that vanishes ends the client', async () => {
  const ended: Promise<unknown>[] = [];
  const { port } = await publish((socket) => {
    ended.push(once(socket, 'end'));
    socket.resume();
  });
  const vanishing = client(port);
  await once(vanishing, 'connect');
  vanishing.write('x');
  await new Promise((resolve) => setTimeout(resolve, 50));
  vanishing.resetAndDestroy();
  await Promise.all(ended);
  const other = await publish((socket) => socket.resetAndDestroy());
  const left = client(other.port);
  left.resume();
  await new Promise((resolve) => left.once('close', resolve));
});

test('a taken port is named, and nothing stays bound', async () => {
  const first = await PublishedPorts.open([{ hostIp: '127.0.0.1', hostPort: 0, containerPort: 1 }]);
  opened.push(first);
  const taken = first.hostPorts[0] ?? 0;
  const free = await PublishedPorts.open([{ hostIp: '127.0.0.1', hostPort: 0, containerPort: 1 }]);
  const freePort = free.hostPorts[0] ?? 0;
  await free.close();
  const error = await PublishedPorts.open([
    { hostIp: '127.0.0.1', hostPort: freePort, containerPort: 1 },
    { hostIp: '127.0.0.1', hostPort: taken, containerPort: 2 },
  ]).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(TskataError);
  expect((error as TskataError).code).toBe(Code.AlreadyExists);
  expect((error as TskataError).message).toContain(`127.0.0.1:${taken}`);
  opened.push(await PublishedPorts.open([{ hostIp: '127.0.0.1', hostPort: freePort, containerPort: 1 }]));
});

test('an address that the host does not have is named', async () => {
  await expect(PublishedPorts.open([{ hostIp: '192.0.2.77', hostPort: 0, containerPort: 1 }])).rejects.toThrow(
    'no such address',
  );
});

test('low ports work, and no address means all of them', async () => {
  const ports = await PublishedPorts.open([{ hostIp: '', hostPort: 999, containerPort: 80 }]);
  opened.push(ports);
  const guestPort = await guestServer((socket) => socket.end('low'));
  ports.start(() => dialTo(guestPort));
  expect((await readAll(client(999))).toString()).toBe('low');
  expect((await readAll(connect({ port: 999, host: '::1' }))).toString()).toBe('low');
});
