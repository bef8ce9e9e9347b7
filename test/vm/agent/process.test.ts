/** Streams, terminals, signals, waiting, pausing, limits and counters, in a real guest. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ContainerSpec, Process } from '../../../agent/protocol/generated/agent.ts';
import type { Init } from '../../../agent/protocol/message.ts';
import type { ByteStream } from '../../../runtime/agent-client/byte-stream.ts';
import { collect, runExec } from '../../helpers/agent-programs.ts';
import { type AgentVm, powerOff, startAgentVm } from '../../helpers/agent-vm.ts';
import { rootStorages, testProcess, testSpec } from '../../helpers/container-defaults.ts';
import { makeTestDisks, type TestDisks } from '../../helpers/test-disks.ts';

let disks: TestDisks;
let vm: AgentVm;
const ID = 'c';

beforeAll(async () => {
  disks = await makeTestDisks();
  const scratch = await disks.scratch('scratch');
  vm = await startAgentVm({
    cpus: 2,
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

afterEach(async () => {
  await vm.call.resumeContainer({ containerId: ID }).catch(() => {});
  await vm.call.signalProcess({ containerId: ID, signal: 9, all: true }).catch(() => {});
  await vm.call.waitProcess({ containerId: ID }, { timeoutMs: 10_000 }).catch(() => {});
  await vm.call.deleteContainer({ containerId: ID }).catch(() => {});
});

interface Running {
  readonly stdin: ByteStream;
  readonly stdout: ByteStream;
  readonly stderr: ByteStream;
}

/** Starts the container of a test. */
async function start(
  args: readonly string[],
  process: Init<Process> = {},
  spec: Init<ContainerSpec> = {},
): Promise<Running> {
  const stdin = vm.connection.openStream('to-guest');
  const stdout = vm.connection.openStream('from-guest');
  const stderr = vm.connection.openStream('from-guest');
  const streams = { stdin: stdin.id, stdout: stdout.id, stderr: process.terminal === true ? 0 : stderr.id };
  await vm.call.createContainer(
    {
      containerId: ID,
      storages: rootStorages(ID),
      rootfsId: `${ID}-root`,
      spec: testSpec(args, { ...spec, process: testProcess(args, process) }),
      streams,
    },
    { timeoutMs: 30_000 },
  );
  await vm.call.startContainer({ containerId: ID });
  return { stdin, stdout, stderr };
}

const shell = (text: string): readonly string[] => ['sh', '-c', text];

/** Reads until the text appears. */
async function readUntil(stream: ByteStream, wanted: RegExp): Promise<string> {
  let text = '';
  const iterator = stream[Symbol.asyncIterator]();
  while (!wanted.test(text)) {
    const { done, value } = await iterator.next();
    if (done === true) throw new Error(`the stream ended after ${JSON.stringify(text)}`);
    text += Buffer.from(value).toString();
  }
  return text;
}

describe('output', () => {
  test('is whole, and counted up to the exit', async () => {
    const { stdout } = await start(shell('head -c 3000000 /dev/zero; echo end'));
    const text = collect(stdout);
    const exit = await vm.call.waitProcess({ containerId: ID }, { timeoutMs: 60_000 });
    expect(exit).toMatchObject({ exitStatus: 0, stdoutBytes: 3_000_004n, stderrBytes: 0n });
    expect((await text).length).toBe(3_000_004);
  });

  test('left in the pipe at the exit is counted although nobody reads yet', async () => {
    const { stdout } = await start(shell('head -c 1000 /dev/zero; sleep 0.2; echo tail'));
    const exit = await vm.call.waitProcess({ containerId: ID });
    expect(exit.stdoutBytes).toBe(1005n);
    expect((await collect(stdout)).length).toBe(1005);
  });

  test('of an orphan that holds the pipe does not delay the exit of an exec', async () => {
    await start(['sleep', '1000']);
    const stdout = vm.connection.openStream('from-guest');
    const process = testProcess(shell('(sleep 3; echo late) & echo early'));
    await vm.call.execProcess({ containerId: ID, execId: 'o', process, streams: { stdout: stdout.id } });
    const before = performance.now();
    const exit = await vm.call.waitProcess({ containerId: ID, execId: 'o' });
    expect(performance.now() - before).toBeLessThan(2000);
    expect(exit).toMatchObject({ exitStatus: 0, stdoutBytes: 6n });
    // What the orphan says later still comes.
    expect(await collect(stdout)).toBe('early\nlate\n');
  });

  test('that nobody wants does not stop the program', async () => {
    const { stdout } = await start(shell('yes | head -c 2000000; echo finished >&2; exit 5'));
    stdout.abort();
    expect((await vm.call.waitProcess({ containerId: ID }, { timeoutMs: 30_000 })).exitStatus).toBe(5);
  });
});

describe('input', () => {
  test('reaches the program whole and ends', async () => {
    const { stdin, stdout } = await start(shell('wc -c; tr -d a | wc -c'));
    const text = collect(stdout);
    for (let part = 0; part < 40; part += 1) await stdin.write(new Uint8Array(50_000).fill(97));
    stdin.end();
    expect(await text).toBe('2000000\n0\n');
    expect(await vm.call.waitProcess({ containerId: ID })).toMatchObject({ exitStatus: 0 });
  });

  test('of a program that does not read ends as an aborted stream', async () => {
    const { stdin } = await start(shell('exec 0<&-; sleep 1000'));
    const endless = (async () => {
      for (;;) await stdin.write(new Uint8Array(65_536));
    })();
    await expect(endless).rejects.toThrow();
  });
});

describe('a terminal', () => {
  test('has a size, echoes, is the controlling one and changes its size', async () => {
    const process = { terminal: true, rows: 30, columns: 100 };
    const { stdin, stdout } = await start(
      shell(
        'trap "stty size" WINCH; trap "exit 130" INT; stty size; tty; test -c /dev/console && echo console; read a; echo "<$a>"; while :; do read b && echo "[$b]"; done',
      ),
      process,
    );
    expect(await readUntil(stdout, /console/)).toContain('30 100\r\n/dev/pts/0\r\nconsole');
    await stdin.write(Buffer.from('word\n'));
    expect(await readUntil(stdout, /<word>/)).toContain('word');
    await vm.call.resizeTerminal({ containerId: ID, rows: 50, columns: 120 });
    await stdin.write(Buffer.from('x\n'));
    expect(await readUntil(stdout, /50 120[\s\S]*\[x\]|\[x\][\s\S]*50 120/)).toContain('50 120');
    await stdin.write(Uint8Array.of(3));
    const rest = collect(stdout);
    expect(await vm.call.waitProcess({ containerId: ID })).toMatchObject({ exitStatus: 130 });
    await rest;
  });

  test('delivers its last output before the end', async () => {
    const { stdout } = await start(shell('for i in $(seq 1 500); do echo "line $i of many"; done'), {
      terminal: true,
      rows: 24,
      columns: 80,
    });
    const exit = await vm.call.waitProcess({ containerId: ID });
    const text = await collect(stdout);
    expect(text).toContain('line 500 of many');
    expect(exit.stdoutBytes).toBe(BigInt(text.length));
  });

  test("is an exec's own, also for another user", async () => {
    await start(['sleep', '1000']);
    const stdin = vm.connection.openStream('to-guest');
    const stdout = vm.connection.openStream('from-guest');
    const process = testProcess(shell('tty; stat -c %u $(tty); stty size; echo x > /dev/tty'), {
      terminal: true,
      rows: 5,
      columns: 6,
      user: { uid: 1000, gid: 1000 },
    });
    await vm.call.execProcess({
      containerId: ID,
      execId: 't',
      process,
      streams: { stdin: stdin.id, stdout: stdout.id },
    });
    expect(await collect(stdout)).toBe('/dev/pts/0\r\n1000\r\n5 6\r\nx\r\n');
    expect(await vm.call.waitProcess({ containerId: ID, execId: 't' })).toMatchObject({ exitStatus: 0 });
    await expect(vm.call.resizeTerminal({ containerId: ID, rows: 1, columns: 1 })).rejects.toThrow(
      'resize the terminal',
    );
  });
});

describe('signals', () => {
  test('reach the program, which may handle them', async () => {
    const { stdout } = await start(shell('trap "echo term; exit 9" TERM; echo ready; while :; do sleep 0.05; done'));
    await readUntil(stdout, /ready/);
    await vm.call.signalProcess({ containerId: ID, signal: 15 });
    const rest = collect(stdout);
    const waits = Array.from({ length: 20 }, () => vm.call.waitProcess({ containerId: ID }));
    for (const exit of await Promise.all(waits)) expect(exit.exitStatus).toBe(9);
    expect(await rest).toBe('term\n');
    await expect(vm.call.signalProcess({ containerId: ID, signal: 15 })).rejects.toMatchObject({ code: 5 });
  });

  test('reach every process', async () => {
    const { stdout } = await start(
      shell(
        '(trap "echo one" USR1; while :; do sleep 0.05; done) & trap "echo two" USR1; echo ready; while :; do sleep 0.05; done',
      ),
    );
    await readUntil(stdout, /ready/);
    await vm.call.signalProcess({ containerId: ID, signal: 10, all: true });
    const text = await readUntil(stdout, /one[\s\S]*two|two[\s\S]*one/);
    expect(text.length).toBeGreaterThan(6);
  });
});

describe('pause', () => {
  test('stops and continues every process', async () => {
    const { stdout } = await start(shell('i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done'));
    await readUntil(stdout, /3/);
    await vm.call.pauseContainer({ containerId: ID });
    await expect(
      vm.call.execProcess({ containerId: ID, execId: 'p', process: testProcess(['true']) }),
    ).rejects.toMatchObject({ code: 9 });
    const stats = await vm.call.statsContainer({ containerId: ID });
    await new Promise((resolve) => setTimeout(resolve, 300));
    const later = await vm.call.statsContainer({ containerId: ID });
    expect(later.cpu?.usageUsec).toBe(stats.cpu?.usageUsec);
    await vm.call.resumeContainer({ containerId: ID });
    const seen = await readUntil(stdout, /\n\d+\n\d+\n/);
    expect(seen.length).toBeGreaterThan(3);
    await expect(vm.call.resumeContainer({ containerId: ID })).rejects.toMatchObject({ code: 9 });
  });
});

describe('resources', () => {
  test('are limits of the cgroup, translated from v1, and can be changed', async () => {
    const resources = {
      memoryLimit: 64n << 20n,
      memorySwap: 64n << 20n,
      memoryReservation: 32n << 20n,
      cpuShares: 512n,
      cpuQuota: 50_000n,
      cpuPeriod: 100_000n,
      pidsLimit: 50n,
      cpusetCpus: '0',
      unified: new Map([['memory.high', '60000000']]),
    };
    await start(['sleep', '1000'], {}, { resources });
    const files = ['memory.max', 'memory.low', 'memory.high', 'cpu.weight', 'cpu.max', 'pids.max', 'cpuset.cpus'];
    const read = async (): Promise<string> => {
      const paths = files.map((name) => `/sys/fs/cgroup/${name}`);
      return (await runExec(vm, ID, testProcess(['cat', ...paths]))).stdout;
    };
    expect(await read()).toBe('67108864\n33554432\n59998208\n20\n50000 100000\n50\n0\n');
    await vm.call.updateContainer({
      containerId: ID,
      resources: { cpuQuota: -1n, cpuPeriod: 100_000n, pidsLimit: -1n, memoryLimit: 128n << 20n },
    });
    expect(await read()).toBe('134217728\n33554432\n59998208\n20\nmax 100000\nmax\n0\n');
    await expect(vm.call.updateContainer({ containerId: ID, resources: { memorySwap: 1n } })).rejects.toMatchObject({
      code: 3,
    });
    await expect(
      vm.call.updateContainer({ containerId: ID, resources: { unified: new Map([['../x', '1']]) } }),
    ).rejects.toMatchObject({ code: 3 });
    const refused = vm.call.updateContainer({ containerId: ID, resources: { cpusetCpus: '63' } });
    await expect(refused).rejects.toThrow('write "63" to cpuset.cpus');
  });

  test('are counted', async () => {
    await start(
      shell('head -c 20000000 /dev/zero | md5sum; dd if=/dev/zero of=/f bs=1M count=4 2>/dev/null; sync; sleep 1000'),
    );
    await runExec(vm, ID, testProcess(['true']));
    const stats = await vm.call.statsContainer({ containerId: ID });
    expect(Number(stats.cpu?.usageUsec)).toBeGreaterThan(1000);
    expect(Number(stats.memory?.usage)).toBeGreaterThan(100_000);
    expect(stats.memory?.stat.get('events.oom_kill')).toBe(0n);
    expect(stats.pidsCurrent).toBeGreaterThan(0n);
    expect(stats.interfaces.map(({ name }) => name)).toContain('lo');
    const before = performance.now();
    for (let call = 0; call < 20; call += 1) await vm.call.statsContainer({ containerId: ID });
    expect((performance.now() - before) / 20).toBeLessThan(100);
    await vm.call.signalProcess({ containerId: ID, signal: 9, all: true });
    await vm.call.waitProcess({ containerId: ID });
    const last = await vm.call.statsContainer({ containerId: ID });
    expect(last.cpu?.usageUsec).toBeGreaterThanOrEqual(stats.cpu?.usageUsec ?? 0n);
    expect(last.pidsCurrent).toBe(0n);
  });

  test('that run out kill, and are reported', async () => {
    const resources = { memoryLimit: 16n << 20n, memorySwap: 16n << 20n };
    const oom = (async () => {
      let from = 0n;
      for (;;) {
        const answer = await vm.call.nextEvents({ after: from }, { timeoutMs: 40_000 });
        for (const event of answer.events) {
          if (event.oom !== undefined) return event;
          from = event.sequence;
        }
      }
    })();
    // One program with little code: several that share so little memory may evict each other's for minutes before one is killed.
    await start(shell('tail /dev/zero; sleep 1'), {}, { resources });
    expect(await oom).toMatchObject({ containerId: ID });
    expect(await vm.call.waitProcess({ containerId: ID }, { timeoutMs: 30_000 })).toMatchObject({ oomKilled: true });
  });

  test('bound a fork bomb', async () => {
    const { stderr } = await start(
      shell('for i in $(seq 1 40); do sleep 5 & done; echo x'),
      {},
      { resources: { pidsLimit: 10n } },
    );
    expect(await collect(stderr)).toMatch(/fork|Resource/);
  });
});
