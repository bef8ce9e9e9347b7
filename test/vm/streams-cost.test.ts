/**
 * What the bytes of a container cost the guest, in instructions: under emulation they are what its speed comes from, and
 * no other work on this machine blurs them. Counted by the guest's clock, which -icount advances by one nanosecond with
 * each instruction, less the time that it had nothing to do.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type AgentVm, startAgentVm } from '../helpers/agent-vm.ts';
import { rootStorages, testSpec } from '../helpers/container-defaults.ts';
import { makeTestDisks, type TestDisks } from '../helpers/test-disks.ts';

const MIB = 1024 * 1024;
const TRANSFER_MIB = 64;
const UNIT_BYTES = 64 * 1024;
const TEST_MS = 300_000;
/** Measured: 146,000 to 156,000 out of the guest and 166,000 to 176,000 into it, the program's own work included. */
const MOST_OUT = 230_000;
const MOST_IN = 260_000;

let disks: TestDisks;
let vm: AgentVm;

beforeAll(async () => {
  disks = await makeTestDisks();
  vm = await startAgentVm({
    icount: true,
    disks: [
      { path: disks.busybox, readOnly: true },
      { path: await disks.scratch('scratch'), readOnly: false },
    ],
    // The processor of the profiles for emulation. An idle guest waits in real time: its clock would otherwise jump to the
    // next time-out while a disk of the host's is read.
    qemu: ['-icount', 'shift=0,sleep=on', '-cpu', 'max,svm=off,la57=off,erms=off,fsrm=off'],
  });
  const wallClockNs = BigInt(Date.now()) * 1_000_000n;
  await vm.call.createSandbox({ sandboxId: 'sb', hostname: 'sandbox', wallClockNs, entropy: randomBytes(64) });
}, TEST_MS);

afterAll(async () => {
  await vm.stop();
  await disks.remove();
});

/** Busy nanoseconds of the guest from "uptime idle" to "uptime idle". */
function busyNs(from: string, to: string): number {
  const [start, end] = [from, to].map((line) => {
    const [uptime = Number.NaN, idle = Number.NaN] = line.trim().split(' ').map(Number);
    return uptime - idle;
  }) as [number, number];
  return (end - start) * 1e9;
}

/** Runs a shell line between two looks at the clock; instructions for each 64 KiB. */
async function cost(containerId: string, line: string, input: number): Promise<number> {
  const [stdin, stdout] = [vm.connection.openStream('to-guest'), vm.connection.openStream('from-guest')];
  await vm.call.createContainer(
    {
      containerId,
      storages: rootStorages(containerId),
      rootfsId: `${containerId}-root`,
      spec: testSpec(['sh', '-c', `cat /proc/uptime; ${line}; cat /proc/uptime`]),
      streams: { stdin: stdin.id, stdout: stdout.id },
    },
    { timeoutMs: TEST_MS },
  );
  await vm.call.startContainer({ containerId });
  const block = randomBytes(MIB);
  const sending = (async () => {
    for (let sent = 0; sent < input; sent++) await stdin.write(block);
    stdin.end();
  })();
  const parts: Buffer[] = [];
  for await (const bytes of stdout) parts.push(Buffer.from(bytes));
  await sending;
  const output = Buffer.concat(parts);
  const first = output.subarray(0, output.indexOf('\n')).toString();
  const last =
    output
      .subarray(-64)
      .toString('latin1')
      .trim()
      .split(/[\n\0]/)
      .at(-1) ?? '';
  await vm.call.waitProcess({ containerId }, { timeoutMs: TEST_MS });
  await vm.call.deleteContainer({ containerId });
  return Math.round(busyNs(first, last) / ((TRANSFER_MIB * MIB) / UNIT_BYTES));
}

it('cost few instructions on their way out of the guest', { timeout: TEST_MS }, async () => {
  const each = await cost('out', `dd if=/dev/zero bs=64k count=${(TRANSFER_MIB * MIB) / UNIT_BYTES} 2>/dev/null`, 0);
  console.log(`out of the guest: ${each.toLocaleString('en')} instructions for 64 KiB`);
  expect(each).toBeLessThan(MOST_OUT);
});

it('cost few instructions on their way into the guest', { timeout: TEST_MS }, async () => {
  const each = await cost('in', 'dd bs=64k of=/dev/null 2>/dev/null', TRANSFER_MIB);
  console.log(`into the guest: ${each.toLocaleString('en')} instructions for 64 KiB`);
  expect(each).toBeLessThan(MOST_IN);
});
