/** What a long-lived agent must bear: new connections, thousands of descriptors, many processes. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ByteStream } from '../../../runtime/agent-client/byte-stream.ts';
import { collect } from '../../helpers/agent-programs.ts';
import { type AgentVm, powerOff, startAgentVm } from '../../helpers/agent-vm.ts';
import { rootStorages, testProcess, testSpec } from '../../helpers/container-defaults.ts';
import { makeTestDisks, type TestDisks } from '../../helpers/test-disks.ts';

/** A socket that is dialled is two descriptors: one to read, one to write. */
const DIALS = 1_500;
let disks: TestDisks;
let vm: AgentVm;

beforeAll(async () => {
  disks = await makeTestDisks();
  const scratch = await disks.scratch('scratch');
  vm = await startAgentVm({
    disks: [
      { path: disks.busybox, readOnly: true },
      { path: scratch, readOnly: false },
    ],
  });
  await vm.call.createSandbox({ sandboxId: 'sb' });
});

afterAll(async () => {
  try {
    await powerOff(vm);
  } finally {
    await disks.remove();
  }
});

test('three thousand descriptors are open at once, each is served, and all are closed again', async () => {
  const before = await vm.call.guestInfo({});
  const streams: ByteStream[] = [];
  // A connected datagram socket needs no peer.
  for (let round = 0; round < DIALS; round += 100) {
    const dial = () => vm.connection.dial({ network: 'udp', address: '127.0.0.1:9' }, 30_000);
    streams.push(...(await Promise.all(Array.from({ length: 100 }, dial))));
  }
  const during = await vm.call.guestInfo({});
  expect(during.openDescriptors - before.openDescriptors).toBeGreaterThanOrEqual(3_000);
  expect(during.openDescriptors).toBeGreaterThan(3_000);
  // Nobody listens: each socket gets an error of its own, which the loop has to see on exactly this descriptor.
  await Promise.all(streams.map((stream) => stream.write(Buffer.from('x'))));
  await Promise.all(streams.map((stream) => collect(stream).catch(() => '')));
  for (const stream of streams) stream.abort();
  await expect
    .poll(async () => (await vm.call.guestInfo({})).openDescriptors, { timeout: 30_000, interval: 200 })
    .toBe(before.openDescriptors);
  expect((await vm.call.guestInfo({})).agentResident).toBeLessThan(16n << 20n);
});

test('a container outlives the connection, and the next one can use it', async () => {
  const stdout = vm.connection.openStream('from-guest');
  const args = ['sh', '-c', 'trap "exit 17" TERM; while :; do echo tick; sleep 0.05; done'];
  await vm.call.createContainer(
    {
      containerId: 'c',
      storages: rootStorages('c'),
      rootfsId: 'c-root',
      spec: testSpec(args),
      streams: { stdout: stdout.id },
    },
    { timeoutMs: 30_000 },
  );
  await vm.call.startContainer({ containerId: 'c' });
  const waiting = vm.call.waitProcess({ containerId: 'c' }, { timeoutMs: 60_000 });
  waiting.catch(() => {});
  for (let round = 0; round < 5; round += 1) {
    const connection = await vm.reconnect();
    vm = { ...vm, connection, call: connection.call };
    const out = vm.connection.openStream('from-guest');
    const process = testProcess(['sh', '-c', `echo round ${round}`]);
    await vm.call.execProcess({ containerId: 'c', execId: `e${round}`, process, streams: { stdout: out.id } });
    expect(await collect(out)).toBe(`round ${round}\n`);
  }
  await vm.call.signalProcess({ containerId: 'c', signal: 15 });
  expect(await vm.call.waitProcess({ containerId: 'c' })).toMatchObject({ exitStatus: 17 });
  await vm.call.deleteContainer({ containerId: 'c' });
});

test('a hundred execs leave nothing behind', async () => {
  await vm.call.createContainer(
    { containerId: 'c', storages: rootStorages('c'), rootfsId: 'c-root', spec: testSpec(['sleep', '1000']) },
    { timeoutMs: 30_000 },
  );
  await vm.call.startContainer({ containerId: 'c' });
  const exec = async (execId: string): Promise<number> => {
    const process = testProcess(['sh', '-c', 'exit 5'], { env: ['PATH=/bin', 'HOME=/'] });
    await vm.call.execProcess({ containerId: 'c', execId, process }, { timeoutMs: 60_000 });
    const { exitStatus } = await vm.call.waitProcess({ containerId: 'c', execId }, { timeoutMs: 60_000 });
    await vm.call.deleteProcess({ containerId: 'c', execId });
    return exitStatus;
  };
  const batch = (name: string) => Promise.all(Array.from({ length: 10 }, (_, index) => exec(`${name}-${index}`)));
  for (let round = 0; round < 5; round += 1) await batch(`warm${round}`);
  const before = await vm.call.guestInfo({});
  for (let round = 0; round < 10; round += 1) {
    const statuses = await batch(`e${round}`);
    expect(statuses).toEqual(Array.from({ length: 10 }, () => 5));
  }
  const after = await vm.call.guestInfo({});
  expect(after.openDescriptors).toBe(before.openDescriptors);
  expect(Number(after.agentResident - before.agentResident)).toBeLessThan(1 << 20);
  await vm.call.signalProcess({ containerId: 'c', signal: 9 });
  await vm.call.waitProcess({ containerId: 'c' });
  await vm.call.deleteContainer({ containerId: 'c' });
});
