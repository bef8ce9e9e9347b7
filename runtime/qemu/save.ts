/**
 * Saves a paused machine into a directory and brings saved memory back. Device state travels over a socket (QEMU may
 * start no program and open no file of ours); memory is copied from QEMU's own descriptor, holes kept. It decides
 * nothing about when.
 */
import { createWriteStream } from 'node:fs';
import { chmod, mkdir, readdir, readlink, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Child, ProcessHost } from '../vm/process-host.ts';
import { JAIL_SOCKETS } from './cmdline.ts';
import type { QmpClient } from './qmp/client.ts';
import { isObject, own } from './qmp/decoder.ts';
import { MEMORY_FILE, type SavedIdentity, STATE_FILE, writeRecord } from './saved.ts';
import type { ShareDaemons } from './virtiofsd.ts';

/** A state is some hundred kilobytes; a host that needs this long is stuck. */
const SAVE_TIMEOUT_MS = 30_000;
const SAVE_SOCKET = 'save.sock';
/** The largest device state taken from QEMU, which may be under the guest's control. */
const MAX_STATE_BYTES = 64 * 1024 * 1024;
/** How the kernel names the descriptor of guest memory: a memfd, or the file of a restored machine. */
const MEMORY_LINK = /^(\/memfd:memory-backend-memfd|.*\/?memory) \(deleted\)$|\/tskata-memory-[0-9a-f-]+$/;

/** Only memory that is not shared goes into the stream: guest RAM is a file of its own. */
export const MIGRATION_CAPABILITIES = {
  capabilities: [
    { capability: 'x-ignore-shared', state: true },
    { capability: 'events', state: true },
  ],
};

/** What saving needs of a machine. */
export interface SaveResources {
  readonly qemu: Child;
  readonly qmp: QmpClient;
  readonly host: ProcessHost;
  readonly shares: ShareDaemons;
  readonly socketDirectory: string;
  readonly identity: () => Promise<SavedIdentity>;
}

/** Writes device state, memory and record. The machine stays paused and can go on. A failed save removes the directory. */
export async function saveMachine(machine: SaveResources, directory: string): Promise<void> {
  if (machine.shares.count > 0) {
    throw new TskataError(Code.FailedPrecondition, 'save VM: it has file shares, whose state QEMU cannot save');
  }
  const identity = await machine.identity();
  await mkdir(directory, { recursive: true, mode: 0o700 });
  try {
    await saveDeviceState(machine, path.join(directory, STATE_FILE));
    await machine.host.copySparse(await findMemory(machine.qemu.pid), path.join(directory, MEMORY_FILE));
    await writeRecord(directory, identity);
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw new TskataError(Code.Internal, `save VM to ${directory}: ${TskataError.from(error).message}`, error);
  }
}

async function saveDeviceState(machine: SaveResources, file: string): Promise<void> {
  const socketPath = path.join(machine.socketDirectory, SAVE_SOCKET);
  const server = createServer();
  const signal = AbortSignal.timeout(SAVE_TIMEOUT_MS);
  try {
    const connected = new Promise<Socket>((resolve, reject) => {
      server.once('connection', resolve);
      server.once('error', reject);
      signal.addEventListener('abort', () => reject(new Error(`no device state within ${SAVE_TIMEOUT_MS} ms`)));
    });
    connected.catch(() => undefined);
    await new Promise<void>((resolve) => server.listen(socketPath, resolve));
    // QEMU runs as another user; the directory above is closed to everyone else.
    await chmod(socketPath, 0o666);
    await machine.qmp.execute('migrate-set-capabilities', MIGRATION_CAPABILITIES);
    await machine.qmp.execute('migrate', { uri: `unix:${JAIL_SOCKETS}/${SAVE_SOCKET}` });
    await pipeline(await connected, bounded, createWriteStream(file, { mode: 0o600 }), { signal });
    await assertCompleted(machine.qmp);
  } finally {
    server.close();
    await rm(socketPath, { force: true });
  }
}

async function* bounded(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let total = 0;
  for await (const chunk of source) {
    total += chunk.length;
    if (total > MAX_STATE_BYTES) throw new Error(`the device state is larger than ${MAX_STATE_BYTES} bytes`);
    yield chunk;
  }
}

/** QEMU closes the stream after its verdict is known. */
async function assertCompleted(qmp: QmpClient): Promise<void> {
  const answer = await qmp.execute('query-migrate');
  const status = isObject(answer) ? own(answer, 'status') : undefined;
  if (status === 'completed') return;
  const reason = isObject(answer) ? own(answer, 'error-desc') : undefined;
  throw new Error(`QEMU says ${String(status)}${typeof reason === 'string' ? `: ${reason}` : ''}`);
}

/** The path by which the host reaches QEMU's guest memory. */
async function findMemory(pid: number): Promise<string> {
  const directory = `/proc/${pid}/fd`;
  for (const fd of await readdir(directory)) {
    const file = path.join(directory, fd);
    const target = await readlink(file).catch(() => '');
    if (MEMORY_LINK.test(target)) return file;
  }
  throw new Error(`QEMU (pid ${pid}) holds no guest memory`);
}
