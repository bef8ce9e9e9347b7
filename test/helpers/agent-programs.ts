/** Programs in a guest, run to their end through the agent's calls: what they printed and how they ended. */
import { randomBytes } from 'node:crypto';
import type { CreateContainerRequest, Process } from '../../agent/protocol/generated/agent.ts';
import type { Init } from '../../agent/protocol/message.ts';
import type { ByteStream } from '../../runtime/agent-client/byte-stream.ts';
import type { AgentVm } from './agent-vm.ts';

/** Collects a stream to its end. */
export async function collect(stream: ByteStream): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(Uint8Array.from(part));
  return Buffer.concat(parts).toString();
}

/** How a program of a test ended. */
export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Creates, starts and waits for a container; deletes it. */
export async function runContainer(
  vm: AgentVm,
  request: Init<CreateContainerRequest>,
  stdin?: string,
): Promise<Outcome> {
  const containerId = request.containerId ?? `c-${randomBytes(4).toString('hex')}`;
  const streams = openStreams(vm, stdin !== undefined);
  await vm.call.createContainer({ ...request, containerId, streams: streams.ids }, { timeoutMs: 60_000 });
  try {
    return await finish(vm, containerId, '', streams, stdin, () => vm.call.startContainer({ containerId }));
  } finally {
    await vm.call.signalProcess({ containerId, signal: 9, all: true }).catch(() => {});
    await vm.call.waitProcess({ containerId }, { timeoutMs: 10_000 });
    await vm.call.deleteContainer({ containerId });
  }
}

/** Runs one more program in a container. */
export async function runExec(
  vm: AgentVm,
  containerId: string,
  process: Init<Process>,
  stdin?: string,
): Promise<Outcome> {
  const execId = `e-${randomBytes(4).toString('hex')}`;
  const streams = openStreams(vm, stdin !== undefined);
  const outcome = await finish(vm, containerId, execId, streams, stdin, () =>
    vm.call.execProcess({ containerId, execId, process, streams: streams.ids }),
  );
  await vm.call.deleteProcess({ containerId, execId });
  return outcome;
}

interface OpenStreams {
  readonly ids: { readonly stdin: number; readonly stdout: number; readonly stderr: number };
  readonly stdin: ByteStream | undefined;
  readonly stdout: ByteStream;
  readonly stderr: ByteStream;
}

function openStreams(vm: AgentVm, withInput: boolean): OpenStreams {
  const stdin = withInput ? vm.connection.openStream('to-guest') : undefined;
  const stdout = vm.connection.openStream('from-guest');
  const stderr = vm.connection.openStream('from-guest');
  return { ids: { stdin: stdin?.id ?? 0, stdout: stdout.id, stderr: stderr.id }, stdin, stdout, stderr };
}

async function finish(
  vm: AgentVm,
  containerId: string,
  execId: string,
  streams: OpenStreams,
  input: string | undefined,
  start: () => Promise<unknown>,
): Promise<Outcome> {
  await start();
  const output = Promise.all([collect(streams.stdout), collect(streams.stderr)]);
  // When the machine ends, the wait says so.
  output.catch(() => undefined);
  if (streams.stdin !== undefined) {
    await streams.stdin.write(Buffer.from(input ?? ''));
    streams.stdin.end();
  }
  const { exitStatus } = await vm.call.waitProcess({ containerId, execId }, { timeoutMs: 60_000 });
  const [stdout, stderr] = await output;
  return { status: exitStatus, stdout, stderr };
}
