/** A guest with bytes on their way: containers whose input and output are streams, and calls that are timed meanwhile. */
import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import type { ByteStream } from '../../runtime/agent-client/byte-stream.ts';
import { type AgentVm, powerOff, startAgentVm } from './agent-vm.ts';
import { rootStorages, testSpec } from './container-defaults.ts';
import { makeTestDisks, type TestDisks } from './test-disks.ts';

const BLOCK_BYTES = 1024 * 1024;
const CALL_EVERY_MS = 50;

/** A container that runs a shell script. */
export interface RunningScript {
  readonly stdin: ByteStream;
  readonly stdout: ByteStream;
  /** Ends it; its exit status. */
  finish(): Promise<number>;
}

export class StreamGuest {
  readonly #vm: AgentVm;
  readonly #disks: TestDisks;

  private constructor(vm: AgentVm, disks: TestDisks) {
    this.#vm = vm;
    this.#disks = disks;
  }

  static async start(): Promise<StreamGuest> {
    const disks = await makeTestDisks();
    const vm = await startAgentVm({
      disks: [
        { path: disks.busybox, readOnly: true },
        { path: await disks.scratch('scratch'), readOnly: false },
      ],
      // The processor of the profiles for emulation.
      qemu: ['-cpu', 'max,svm=off,la57=off,erms=off,fsrm=off'],
    });
    const wallClockNs = BigInt(Date.now()) * 1_000_000n;
    await vm.call.createSandbox({ sandboxId: 'sb', hostname: 'sandbox', wallClockNs, entropy: randomBytes(64) });
    return new StreamGuest(vm, disks);
  }

  async end(): Promise<void> {
    await powerOff(this.#vm);
    await this.#disks.remove();
  }

  async run(containerId: string, script: string): Promise<RunningScript> {
    const { call, connection } = this.#vm;
    const [stdin, stdout] = [connection.openStream('to-guest'), connection.openStream('from-guest')];
    await call.createContainer(
      {
        containerId,
        storages: rootStorages(containerId),
        rootfsId: `${containerId}-root`,
        spec: testSpec(['sh', '-c', script]),
        streams: { stdin: stdin.id, stdout: stdout.id },
      },
      { timeoutMs: 60_000 },
    );
    await call.startContainer({ containerId });
    return {
      stdin,
      stdout,
      finish: async () => {
        await call.signalProcess({ containerId, signal: 9, all: true }).catch(() => {});
        const { exitStatus } = await call.waitProcess({ containerId }, { timeoutMs: 20_000 });
        await call.deleteContainer({ containerId });
        return exitStatus;
      },
    };
  }

  /** Runs `work` while calls are made; the 99th percentile of their time, in milliseconds. */
  async withCalls(work: () => Promise<void>): Promise<number> {
    const { call, connection } = this.#vm;
    const times: number[] = [];
    let busy = true;
    const calling = (async () => {
      while (busy) {
        const startedMs = performance.now();
        await call.hello({ protocol: connection.hello.protocol });
        times.push(performance.now() - startedMs);
        await new Promise((resolve) => setTimeout(resolve, CALL_EVERY_MS));
      }
    })();
    await work().finally(() => {
      busy = false;
    });
    await calling;
    times.sort((left, right) => left - right);
    return times[Math.floor(times.length * 0.99)] ?? Number.NaN;
  }

  /** CPU seconds of the thread that runs the guest: the busiest one of QEMU's. */
  async cpuSeconds(): Promise<number> {
    const { qemuPid } = this.#vm;
    let most = 0;
    for (const thread of await readdir(`/proc/${qemuPid}/task`)) {
      const stat = await readFile(`/proc/${qemuPid}/task/${thread}/stat`, 'utf8').catch(() => '');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      most = Math.max(most, (Number(fields[11]) + Number(fields[12])) / 100 || 0);
    }
    return most;
  }
}

const random = randomBytes(BLOCK_BYTES);

/** So many bytes (whole MiB), in blocks of which none is like another: one that is lost, doubled or swapped shows. */
export function* blocks(total: number): Generator<Uint8Array> {
  for (let sent = 0; sent < total; sent += BLOCK_BYTES) {
    const block = Uint8Array.from(random);
    new DataView(block.buffer).setUint32(0, sent / BLOCK_BYTES);
    yield block;
  }
}

/** Sends them and ends the stream. */
export async function sendBlocks(stream: ByteStream, total: number): Promise<void> {
  for (const block of blocks(total)) await stream.write(block);
  stream.end();
}
