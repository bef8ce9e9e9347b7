/**
 * Owns: letting one of several builders of the same thing work while the others wait for it.
 * Refuses to know: what is built.
 *
 * The lock is a listening socket with an abstract name: the kernel gives it to exactly one process and takes it back
 * when that process ends, however it ends, so there is no stale lock to recognise. Waiting is a connection that closes
 * when the owner is gone: an event, not a poll. It saves work and nothing else: results are published by
 * rename, so two builders that do not see each other (two network namespaces) do no harm.
 */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** Held until `release`, or until this process ends. */
export type BuildLock = { readonly release: () => Promise<void> };

/**
 * Takes the lock, waiting for its owner at most `timeoutMs`; `onWait` is called once when there is one.
 *
 * @returns undefined when the time is over and another process still holds the lock
 */
export async function acquireBuildLock(
  name: string,
  timeoutMs: number,
  onWait: () => void,
): Promise<BuildLock | undefined> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const path = `\0tskata-build-${process.getuid?.() ?? 0}-${name}`;
  for (let waited = false; ; waited = true) {
    const lock = await tryTake(path);
    if (lock !== undefined) return lock;
    if (deadline.aborted) return undefined;
    if (!waited) onWait();
    await ownerGone(path, deadline);
  }
}

/** The lock, or undefined when another process has it. */
async function tryTake(path: string): Promise<BuildLock | undefined> {
  const waiters = new Set<Socket>();
  const server = createServer((socket) => {
    waiters.add(socket);
    // waiters only watch for the end; a reset of theirs means nothing
    socket.on('error', () => {}).on('close', () => waiters.delete(socket));
    socket.resume();
  });
  try {
    server.listen(path);
    await once(server, 'listening');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EADDRINUSE') return undefined;
    throw error;
  }
  const release = async (): Promise<void> => {
    const closed = once(server, 'close');
    server.close();
    // the end of their connection is what they wait for
    for (const socket of waiters) socket.destroy();
    await closed;
  };
  return { release };
}

/** Resolves when the owner has let go, or at the deadline. */
async function ownerGone(path: string, deadline: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const socket = connect(path);
  const end = () => socket.destroy();
  deadline.addEventListener('abort', end, { once: true });
  // a refused connection says the same as a closed one: the owner is gone
  socket.on('error', () => {}).on('close', () => resolve());
  socket.resume();
  await promise;
  deadline.removeEventListener('abort', end);
}
