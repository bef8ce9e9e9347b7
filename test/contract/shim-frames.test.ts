/**
 * What containerd 1.6.20 really sent to a shim (a container that was run, exec'ed into, measured, paused, killed and
 * deleted by `ctr`), byte for byte, against the Task service.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { MAX_TTRPC_MESSAGE_BYTES } from '../../agent/protocol/limits.ts';
import { memoryPair } from '../../agent/protocol/memory-channel.ts';
import { bind, type Handlers } from '../../agent/protocol/service.ts';
import { ChannelPipe } from '../../agent/protocol/ttrpc/pipe.ts';
import { TtrpcServer } from '../../agent/protocol/ttrpc/server.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { parseJson, parseProcess } from '../../runtime/oci/validate.ts';
import { Task } from '../../shim/task/generated/task.ts';

const bytes = Buffer.from(
  readFileSync(join(import.meta.dirname, 'fixtures/containerd-1.6.20-task.hex'), 'utf8').replaceAll('\n', ''),
  'hex',
);

interface RecordedCall {
  readonly method: string;
  readonly request: unknown;
}

/** Feeds the recording in pieces of `size` bytes and returns the calls in their order. */
async function replay(size: number): Promise<RecordedCall[]> {
  const calls: RecordedCall[] = [];
  const handlers = Object.fromEntries(
    Object.keys(Task.methods).map((method) => [
      method,
      (request: unknown) => {
        calls.push({ method, request });
        throw new TskataError(Code.NotFound, 'recorded');
      },
    ]),
  ) as unknown as Handlers<typeof Task>;
  const [client, server] = memoryPair({ fragment: () => size });
  new TtrpcServer(new ChannelPipe(server, MAX_TTRPC_MESSAGE_BYTES), [bind(Task, handlers)], nodeClock);
  server.setReading(true);
  client.setReading(true);
  client.write(new Uint8Array(bytes));
  while (client.pendingBytes > 0) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setTimeout(resolve, 20));
  return calls;
}

test.each([1, 7, 4096])('decode alike in pieces of %i bytes', async (size) => {
  const calls = await replay(size);
  expect(calls.map((call) => call.method)).toMatchInlineSnapshot(`
    [
      "create",
      "connect",
      "start",
      "state",
      "state",
      "exec",
      "state",
      "state",
      "start",
      "wait",
      "state",
      "state",
      "state",
      "state",
      "delete",
      "state",
      "stats",
      "state",
      "pids",
      "state",
      "pause",
      "state",
      "resume",
      "state",
      "kill",
      "state",
      "state",
      "delete",
      "shutdown",
    ]
  `);
  const create = calls.find((call) => call.method === 'create')?.request;
  expect(create).toMatchObject({
    id: 'rec1',
    bundle: '/run/record1/cd/state/io.containerd.runtime.v2.task/default/rec1',
    rootfs: [],
    terminal: false,
    checkpoint: '',
  });
  expect((create as { stdout: string }).stdout).toMatch(/^\/run\/containerd\/fifo\/.*rec1-stdout$/);
  const exec = calls.find((call) => call.method === 'exec')?.request as {
    execId: string;
    spec?: { typeUrl: string; value: Uint8Array };
  };
  expect(exec.spec?.typeUrl).toBe('types.containerd.io/opencontainers/runtime-spec/1/Process');
  const process = parseProcess('exec', parseJson('exec', new TextDecoder().decode(exec.spec?.value)));
  expect(process.args).toEqual(['/bin/busybox', 'echo', 'in', 'exec']);
  expect(calls.find((call) => call.method === 'kill')?.request).toMatchObject({ id: 'rec1', signal: 9, all: false });
  expect(calls.filter((call) => call.method === 'wait').map((call) => call.request)).toMatchObject([
    { id: 'rec1', execId: 'e1' },
  ]);
});
