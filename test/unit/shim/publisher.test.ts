import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import { MAX_TTRPC_MESSAGE_BYTES } from '../../../agent/protocol/limits.ts';
import { bind } from '../../../agent/protocol/service.ts';
import { ChannelPipe } from '../../../agent/protocol/ttrpc/pipe.ts';
import { TtrpcServer } from '../../../agent/protocol/ttrpc/server.ts';
import { nodeClock } from '../../../runtime/host/clock.ts';
import { silentLogger } from '../../../runtime/host/log.ts';
import { socketChannel } from '../../../runtime/host/socket-channel.ts';
import { any } from '../../../shim/task/convert.ts';
import { TaskExit } from '../../../shim/task/generated/events.ts';
import { Events, type ForwardRequest } from '../../../shim/task/generated/events-ttrpc.ts';
import { TtrpcPublisher } from '../../../shim/task/publisher.ts';

let directory: string;
let address: string;
let publisher: TtrpcPublisher;
let received: ForwardRequest[];
let containerd: { stop(): Promise<void> } | undefined;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tskata-events-'));
  address = join(directory, 'containerd.sock.ttrpc');
  received = [];
  publisher = new TtrpcPublisher(address, 'k8s.io', { clock: nodeClock, log: silentLogger });
});

afterEach(async () => {
  publisher.close();
  await containerd?.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** The events service of a containerd. `accept` decides over each event. */
function startContainerd(accept: (request: ForwardRequest) => void = () => undefined): { stop(): Promise<void> } {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    const forward = (request: ForwardRequest): object => {
      accept(request);
      received.push(request);
      return {};
    };
    const channel = socketChannel(socket);
    new TtrpcServer(new ChannelPipe(channel, MAX_TTRPC_MESSAGE_BYTES), [bind(Events, { forward })], nodeClock);
    channel.setReading(true);
  });
  server.listen(address);
  return {
    stop: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => void server.close(() => resolve()));
    },
  };
}

function publish(from: number, count: number): void {
  for (let index = from; index < from + count; index++) {
    publisher.publish({ topic: '/tasks/exit', event: any(TaskExit, { containerId: 'c', id: 'c', pid: index }) });
  }
}

const order = (): number[] =>
  received.map(({ envelope }) => TaskExit.decode(envelope?.event?.value ?? new Uint8Array()).pid);

test('events arrive in order, with what containerd checks', async () => {
  containerd = startContainerd();
  publish(0, 200);
  await publisher.drain();
  expect(order()).toEqual(Array.from({ length: 200 }, (_, index) => index));
  const { envelope } = received[0] as ForwardRequest;
  expect(envelope).toMatchObject({
    namespace: 'k8s.io',
    topic: '/tasks/exit',
    event: { typeUrl: 'containerd.events.TaskExit' },
  });
  expect(envelope?.timestamp?.seconds).toBeGreaterThan(1_600_000_000n);
});

test('what happened while containerd was away is told when it is back', async () => {
  publish(0, 3);
  await sleep(50);
  expect(received).toEqual([]);
  containerd = startContainerd();
  await publisher.drain();
  expect(order()).toEqual([0, 1, 2]);
  await containerd.stop();
  publish(3, 2);
  await sleep(50);
  containerd = startContainerd();
  await publisher.drain();
  expect(order()).toEqual([0, 1, 2, 3, 4]);
});

test('however long containerd is away, nothing is given up', { timeout: 30_000 }, async () => {
  let attempts = 0;
  const timer = (delayMs: number, run: () => void): (() => void) => {
    attempts++;
    return nodeClock.timer(delayMs / 100, run);
  };
  const patient = new TtrpcPublisher(address, 'k8s.io', { clock: { ...nodeClock, timer }, log: silentLogger });
  patient.publish({ topic: '/tasks/exit', event: any(TaskExit, { containerId: 'c', id: 'c', pid: 7 }) });
  await expect.poll(() => attempts, { timeout: 12_000 }).toBeGreaterThan(70);
  containerd = startContainerd();
  await expect.poll(order, { timeout: 5_000 }).toEqual([7]);
  patient.close();
});

test('a refused event is tried again, and does not let later ones pass', async () => {
  let refusals = 2;
  containerd = startContainerd(() => {
    if (refusals-- > 0) throw new Error('busy');
  });
  publish(0, 3);
  await publisher.drain();
  expect(order()).toEqual([0, 1, 2]);
});

test('an event that containerd calls invalid is dropped, and holds nobody up', async () => {
  let calls = 0;
  containerd = startContainerd(() => {
    if (calls++ === 0) throw new TskataError(Code.InvalidArgument, 'no such topic');
  });
  publish(0, 3);
  await publisher.drain();
  expect(order()).toEqual([1, 2]);
});

test('the queue is bounded: the oldest go', async () => {
  publish(0, 5_000);
  containerd = startContainerd();
  // One drain has five seconds, in which a loaded machine does not carry so many.
  while (order().at(-1) !== 4_999) await publisher.drain();
  expect(received.length).toBeLessThanOrEqual(4_097);
  expect(order().at(-1)).toBe(4_999);
});
