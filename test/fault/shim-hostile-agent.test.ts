/**
 * A guest that has taken over its agent, against a whole shim in a process of its own: it never gets above 150 MB, never
 * hangs beyond its deadline, and still answers its clients.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { Agent, type CreateContainerRequest } from '../../agent/protocol/generated/agent.ts';
import { MAX_TTRPC_MESSAGE_BYTES, PROTOCOL_VERSION } from '../../agent/protocol/limits.ts';
import { type AgentServer, serveAgent } from '../../agent/protocol/serve.ts';
import { bind, type Client, type Handlers } from '../../agent/protocol/service.ts';
import { createClient, TtrpcClient } from '../../agent/protocol/ttrpc/client.ts';
import { ChannelPipe } from '../../agent/protocol/ttrpc/pipe.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { run } from '../../runtime/host/process.ts';
import { socketChannel } from '../../runtime/host/socket-channel.ts';
import { Task } from '../../shim/task/generated/task.ts';
import { PodShim } from '../helpers/pod-shim.ts';

const MAX_RESIDENT_KIB = 150 * 1024;
/** containerd.task.v2's Status. */
const RUNNING = 2;
/** For five: less than one that waits for the deadline of a call of the agent. */
const MAX_FIVE_EXECS_MS = 10_000;
const MIN_FLOOD_BYTES = 16 << 20;

/** The guest's side of both ports, in the test's hands. */
interface Ports {
  readonly control: Socket;
  readonly bytes: Socket;
}

let program: string;
let directory: string;
let child: ChildProcess;
let listeners: Server[];
let guest: Promise<Ports>;
let client: Socket;
let task: Client<typeof Task>;

beforeAll(async () => {
  // As a bundle, like the real one: what strips types from sources costs memory that a shim does not have.
  const root = mkdtempSync(join(tmpdir(), 'tskata-hostile-program-'));
  program = join(root, 'host.js');
  await build({
    entryPoints: [join(import.meta.dirname, 'fixtures/hostile-host.ts')],
    outfile: program,
    bundle: true,
    platform: 'node',
    format: 'esm',
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  });
  writeFileSync(join(root, 'package.json'), '{"type":"module"}');
});

afterAll(() => rmSync(dirname(program), { recursive: true, force: true }));

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tskata-hostile-'));
  listeners = [createServer(), createServer()];
  const connections = listeners.map(async (listener, index) => {
    listener.listen(join(directory, index === 0 ? 'control.sock' : 'bytes.sock'));
    const [socket] = (await once(listener, 'connection')) as [Socket];
    socket.on('error', () => undefined);
    return socket;
  });
  guest = Promise.all(connections).then(([control, bytes]) => ({ control, bytes }) as Ports);
  child = spawn(process.execPath, [program, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout as NodeJS.ReadableStream, 'data');
  client = connect(join(directory, 'shim.sock'));
  await once(client, 'connect');
  const channel = socketChannel(client);
  task = createClient(Task, new TtrpcClient(new ChannelPipe(channel, MAX_TTRPC_MESSAGE_BYTES), nodeClock));
  channel.setReading(true);
});

afterEach(async () => {
  const { control, bytes } = await guest;
  // Whatever happened, it is still there, answers, is small, and ends when it is told to.
  await expect(task.state({ id: 'nobody' }, { timeoutMs: 2_000 })).rejects.toMatchObject({ code: 5 });
  expect(highWaterKib(child.pid ?? 0)).toBeLessThan(MAX_RESIDENT_KIB);
  const exited = once(child, 'exit');
  await task.shutdown({ id: 'c', now: true }, { timeoutMs: 10_000 });
  expect(await exited).toEqual([0, null]);
  for (const end of [control, bytes, client]) end.destroy();
  for (const listener of listeners) listener.close();
  rmSync(directory, { recursive: true, force: true });
});

function highWaterKib(pid: number): number {
  const match = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1]);
}

/** An agent that works, but for what a test replaces. */
async function serve(handlers: Partial<Handlers<typeof Agent>>): Promise<{ ports: Ports; agent: AgentServer }> {
  const ports = await guest;
  const [control, bytes] = [socketChannel(ports.control), socketChannel(ports.bytes)];
  const never = (): Promise<never> => new Promise(() => undefined);
  const agent = serveAgent(control, bytes, nodeClock, {
    bindings: [
      bind(Agent, {
        hello: () => ({ protocol: PROTOCOL_VERSION, agentVersion: 'hostile' }),
        createSandbox: () => ({}),
        createContainer: () => ({ guestPid: 1 }),
        startContainer: () => ({}),
        deleteContainer: () => ({}),
        destroySandbox: () => ({}),
        signalProcess: () => ({}),
        waitProcess: never,
        nextEvents: never,
        ...handlers,
      }),
    ],
  });
  control.setReading(true);
  bytes.setReading(true);
  return { ports, agent };
}

function create(stdout = ''): Promise<unknown> {
  const config = { ociVersion: '1.1.0', process: { args: ['x'], cwd: '/' }, root: { path: 'rootfs' } };
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config));
  const rootfs = [{ type: 'squashfs', source: '/image', options: ['ro'] }];
  return task.create({ id: 'c', bundle: directory, rootfs, stdout }, { timeoutMs: 20_000 });
}

/** Writes as fast as the other side takes it, until it hangs up or `maxBytes` are through. */
async function flood(socket: Socket, piece: Uint8Array, maxBytes: number): Promise<void> {
  for (let sent = 0; sent < maxBytes && !socket.destroyed; sent += piece.length) {
    if (!socket.write(piece)) await writable(socket);
  }
}

/** A container's output, as fast as the host gives credit for it. */
function writeForever({ mux }: AgentServer, request: CreateContainerRequest, onSent: (bytes: number) => void): void {
  const stream = mux.accept(request.streams?.stdout ?? 0);
  const piece = new Uint8Array(64 * 1024);
  const more = (): void =>
    stream.whenWritable((most) => {
      stream.send(piece.subarray(0, most));
      onSent(Math.min(most, piece.length));
      more();
    });
  more();
}

/** Resolves when the socket takes more, or never will. */
function writable(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    socket.on('drain', done);
    socket.on('close', done);
  });
}

/** The exit of the container, which must come although nobody in the guest reports one. */
async function exitWithin(timeMs: number): Promise<number> {
  return (await task.wait({ id: 'c' }, { timeoutMs: timeMs })).exitStatus;
}

const record = (length: number, payload: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(4 + payload.length);
  new DataView(bytes.buffer).setUint32(0, length, true);
  bytes.set(payload, 4);
  return bytes;
};

test('silence: Create fails at its deadline', async () => {
  await expect(create()).rejects.toThrow(/connect to the agent/);
});

test('noise instead of an answer to the reset', async () => {
  const noise = guest.then(({ control }) => flood(control, new Uint8Array(1 << 20).fill(0x5a), 256 << 20));
  await expect(create()).rejects.toThrow(/connect to the agent/);
  await noise;
});

test('a record of 4 GiB is announced after the handshake', async () => {
  const served = serve({});
  await create();
  const { ports } = await served;
  ports.control.write(record(0xffff_fff0, new Uint8Array(64)));
  expect(await exitWithin(3_000)).toBe(137);
});

test('half a record, then silence: what is asked meets its deadline, a kill ends the machine', {
  timeout: 40_000,
}, async () => {
  const served = serve({ signalProcess: () => new Promise(() => undefined) });
  await create();
  const { ports } = await served;
  ports.control.pause();
  ports.control.write(record(1000, new Uint8Array(10)));
  const startedMs = performance.now();
  await task.kill({ id: 'c', signal: 9 }, { timeoutMs: 20_000 });
  expect(await exitWithin(3_000)).toBe(137);
  expect(performance.now() - startedMs).toBeLessThan(13_000);
});

test('answers to calls that were never made, by the million', async () => {
  const served = serve({});
  await create();
  const { ports } = await served;
  const frame = new Uint8Array(10);
  frame.set([0, 0, 0, 0, 0, 1, 0, 1, 2, 0]);
  await flood(ports.control, record(frame.length, frame), 8 << 20);
  expect(await exitWithin(3_000)).toBe(137);
});

test('frames for streams that were never opened', async () => {
  const served = serve({});
  await create();
  const { ports } = await served;
  await flood(ports.bytes, record(9, new Uint8Array([255, 255, 255, 0, 1, 1, 2, 3, 4])), 8 << 20);
  expect(await exitWithin(3_000)).toBe(137);
});

test('output without end that nobody reads is held by credit', async () => {
  const fifo = join(directory, 'out');
  await run('mkfifo', [fifo], { timeoutMs: 5_000 });
  openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  let sent = 0;
  const served = serve({
    createContainer: async (request) => {
      writeForever((await served).agent, request, (bytes) => {
        sent += bytes;
      });
      return { guestPid: 1 };
    },
  });
  await create(fifo);
  await task.start({ id: 'c' });
  await sleep(500);
  expect(sent).toBeGreaterThan(0);
  expect(sent).toBeLessThan(1 << 20);
});

test('more output than credit ends the connection', async () => {
  const served = serve({});
  const fifo = join(directory, 'out');
  await run('mkfifo', [fifo], { timeoutMs: 5_000 });
  await create(fifo);
  const { ports } = await served;
  const body = new Uint8Array(5 + 60_000);
  body.set([1, 0, 0, 0, 1]);
  await flood(ports.bytes, record(body.length, body), 16 << 20);
  expect(await exitWithin(3_000)).toBe(137);
});

test('a flood, and answers in the name of others, leave another sandbox alone', { timeout: 60_000 }, async () => {
  const other = new PodShim();
  let reader: ChildProcess | undefined;
  try {
    await other.start('other');
    let sequence = 0n;
    let sent = 0;
    const served = serve({
      nextEvents: () => ({ events: [{ sequence: ++sequence, containerId: 'other', oom: {} }] }),
      createContainer: async (request) => {
        writeForever((await served).agent, request, (bytes) => {
          sent += bytes;
        });
        return { guestPid: 1 };
      },
    });
    const fifo = join(directory, 'out');
    await run('mkfifo', [fifo], { timeoutMs: 5_000 });
    reader = spawn('cat', [fifo], { stdio: ['ignore', 'ignore', 'inherit'] });
    await create(fifo);
    await task.start({ id: 'c' });
    const startedMs = performance.now();
    for (let round = 0; round < 5; round++) expect(await other.sh('other', 'echo well')).toBe('well');
    expect(performance.now() - startedMs).toBeLessThan(MAX_FIVE_EXECS_MS);
    expect(sent).toBeGreaterThan(MIN_FLOOD_BYTES);
    expect(sequence).toBeGreaterThan(1n);
    await expect(task.state({ id: 'other' })).rejects.toMatchObject({ code: 5 });
    expect(await other.task.state({ id: 'other' })).toMatchObject({ status: RUNNING });
  } finally {
    reader?.kill();
    await other.dispose();
  }
});

test('events without end, about containers that do not exist', async () => {
  let polls = 0;
  let sequence = 0n;
  void serve({
    nextEvents: () => {
      polls++;
      const events = Array.from({ length: 2_000 }, () => ({ sequence: ++sequence, containerId: '__proto__', oom: {} }));
      return { events };
    },
  });
  await create();
  await sleep(1_500);
  expect(polls).toBeGreaterThan(1);
});

test('counters with names of the language', async () => {
  const stat = new Map([
    ['__proto__', 1n],
    ['constructor', 2n],
    ['toString', 3n],
  ]);
  void serve({ statsContainer: () => ({ memory: { usage: 1n, stat } }) });
  await create();
  await task.start({ id: 'c' });
  await expect(task.stats({ id: 'c' })).resolves.toMatchObject({
    stats: { typeUrl: 'io.containerd.cgroups.v2.Metrics' },
  });
  expect(({} as { oomKill?: unknown }).oomKill).toBeUndefined();
});

test('an exit before the start, with an impossible status', async () => {
  void serve({ waitProcess: () => ({ exitStatus: 0xffff_ffff, stdoutBytes: 2n ** 64n - 1n }) });
  await create();
  expect(await exitWithin(3_000)).toBe(255);
  await expect(task.start({ id: 'c' })).rejects.toMatchObject({ code: 9 });
  expect(await task.delete({ id: 'c' })).toMatchObject({ exitStatus: 255 });
});

test('an answer larger than allowed', async () => {
  const served = serve({});
  await create();
  const { ports } = await served;
  await flood(ports.control, record((1 << 20) + 11, new Uint8Array(1 << 20)), 32 << 20);
  expect(await exitWithin(3_000)).toBe(137);
});
