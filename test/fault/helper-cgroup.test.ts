/**
 * The host cgroup of a sandbox, by the real keeper on this host's hierarchies: what is charged, what is limited, who is
 * refused, and what is left when everybody was killed. A process of its own plays the shim.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { findHierarchies } from '../../runtime/helper/hierarchies.ts';
import { buildHelper, type HelperBuild } from '../helpers/native.ts';

const UID = 300_200;
const LIMITS = { memoryBytes: String(512 * 1024 * 1024), pids: '777', cpusetCpus: '', cpusetMems: '', throttles: [] };
const found = findHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'));
const VERSION = found?.version ?? 0;

let build: HelperBuild;
let count = 0;
const shims: PlayedShim[] = [];

/** Directory of a group in the hierarchy of a controller. */
function directory(path: string, controller: 'memory' | 'cpu' | 'pids' | 'cpuset'): string {
  if (found === undefined) throw new Error('this host has no cgroups');
  return `${found.version === 2 ? found.mount : found.mounts.get(controller)}${path}`;
}

/** Where its processes are: v2 keeps them in leaves. */
function processes(path: string, controller: 'memory' | 'cpu'): number[] {
  const leaf = VERSION === 2 ? '/main' : '';
  return read(`${directory(path, controller)}${leaf}/cgroup.procs`)
    .split('\n')
    .map(Number);
}

function read(path: string): string {
  return readFileSync(path, 'utf8').trim();
}

/** The group that a process is in. */
function groupOf(pid: number, controller: string): string {
  const lines = read(`/proc/${pid}/cgroup`).split('\n');
  const line = lines.find((text) =>
    VERSION === 2 ? text.startsWith('0::') : text.split(':')[1]?.split(',').includes(controller),
  );
  return line?.split(':')[2] ?? '';
}

/** A shim that starts a keeper, does one call a line, and says what came of it. */
class PlayedShim {
  readonly process: ChildProcess;
  readonly #lines: Interface;
  keeper = 0;

  constructor() {
    const root = join(import.meta.dirname, '../..');
    const source = `
      import { createInterface } from 'node:readline';
      import { startKeeper } from '${root}/runtime/helper-client/keeper.ts';
      import { spawnChild } from '${root}/runtime/helper-client/process-host.ts';
      const keeper = await startKeeper({ helper: '${build.helper}', runRoot: '${build.runRoot}', inherited: [], onLog: () => {} });
      const big = (key, value) => key !== 'cpusetCpus' && typeof value === 'string' && /^-?[0-9]+$/.test(value) ? BigInt(value) : value;
      const sleeper = {
        name: 'one', executable: '/bin/busybox', args: ['sleep', '1000'], descriptors: [],
        jail: { binds: [{ source: '/bin/busybox', target: '/bin/busybox', readOnly: true, executable: true }], network: 'none',
          proc: false, newPidNamespace: true, keepCapabilities: [], additionalGids: [] },
      };
      console.log(keeper.pid);
      for await (const line of createInterface(process.stdin)) {
        const [what, text] = line.split('\\t');
        try {
          const request = JSON.parse(text, big);
          const answer = what === 'spawn' ? { pid: (await spawnChild(keeper, sleeper, ${UID})).pid }
            : what === 'close' ? await keeper.close() ?? {}
            : await keeper.call[what](request, { timeoutMs: 20_000 });
          console.log(JSON.stringify(answer));
        } catch (error) {
          console.log(JSON.stringify({ error: error.message }));
        }
      }
    `;
    const script = join(build.directory, `shim-${++count}.mjs`);
    writeFileSync(script, source);
    this.process = spawn(process.execPath, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface(this.process.stdout as NodeJS.ReadableStream);
    shims.push(this);
  }

  async start(): Promise<this> {
    this.keeper = Number((await once(this.#lines, 'line'))[0]);
    return this;
  }

  async call(what: string, request: object): Promise<{ error?: string; missing?: string[]; pid?: number }> {
    const answer = once(this.#lines, 'line');
    this.process.stdin?.write(`${what}\t${JSON.stringify(request)}\n`);
    return JSON.parse((await answer)[0]);
  }

  get pid(): number {
    return this.process.pid ?? 0;
  }
}

function newPath(): string {
  return `/tskata-test-${process.pid}/pod${++count}/sandbox`;
}

beforeAll(async () => {
  build = await buildHelper();
});
afterEach(async () => {
  for (const shim of shims.splice(0)) {
    if (shim.process.exitCode === null && shim.process.signalCode === null) {
      await shim.call('close', {});
      shim.process.kill('SIGKILL');
      await once(shim.process, 'exit');
    }
  }
});
afterAll(() => build.remove());

describe('a group', () => {
  test('below our own parent has no weight of its own that nobody asked for', async () => {
    const shim = await new PlayedShim().start();
    await shim.call('enterGroup', { path: newPath(), ownParents: true, limits: LIMITS });
    const { pid = 0 } = await shim.call('spawn', {});
    if (VERSION === 1) expect(groupOf(pid, 'cpu')).toBe(groupOf(process.pid, 'cpu'));
    await shim.call('close', {});
  });

  test('holds shim, keeper and what the keeper starts, with its limits, and goes in order', async () => {
    const shim = await new PlayedShim().start();
    const origin = groupOf(shim.pid, 'memory');
    const path = newPath();
    expect(await shim.call('enterGroup', { path, ownParents: false, limits: LIMITS })).toEqual({ missing: [] });
    const { pid = 0 } = await shim.call('spawn', {});
    expect(processes(path, 'memory')).toEqual(expect.arrayContaining([shim.pid, shim.keeper, pid]));
    const files = VERSION === 2 ? ['memory.max', 'pids.max'] : ['memory.limit_in_bytes', 'pids.max'];
    expect(read(`${directory(path, 'memory')}/${files[0]}`)).toBe(LIMITS.memoryBytes);
    expect(read(`${directory(path, 'pids')}/${files[1]}`)).toBe(LIMITS.pids);
    // What the parents are allowed holds for it.
    if (VERSION === 1) for (const one of ['cpu', 'cpuset'] as const) expect(groupOf(pid, one)).toBe(path);
    await shim.call('close', {});
    expect(existsSync(directory(path, 'memory'))).toBe(false);
    expect(existsSync(dirname(dirname(directory(path, 'memory'))))).toBe(false);
    expect(groupOf(shim.pid, 'memory')).toBe(origin);
    expect(existsSync(join(build.runRoot, 'cgroups', `${shim.keeper}`))).toBe(false);
  });

  test('gets limits of CPU while it runs, with everything that is in it', async () => {
    const shim = await new PlayedShim().start();
    const path = newPath();
    await shim.call('enterGroup', { path, ownParents: true, limits: { ...LIMITS, cpusetCpus: 'inherit' } });
    const { pid = 0 } = await shim.call('spawn', {});
    const more = { ...LIMITS, cpuQuotaUs: '150000', cpuShares: '512', cpusetCpus: '0' };
    expect(await shim.call('limitGroup', more)).toEqual({ missing: [] });
    expect(processes(path, 'cpu')).toEqual(expect.arrayContaining([shim.pid, shim.keeper, pid]));
    const cpu = directory(path, 'cpu');
    expect(read(VERSION === 2 ? `${cpu}/cpu.max` : `${cpu}/cpu.cfs_quota_us`)).toMatch(/^150000/);
    expect(read(VERSION === 2 ? `${cpu}/cpu.weight` : `${cpu}/cpu.shares`)).toBe(VERSION === 2 ? '20' : '512');
    expect(read(`${directory(path, 'cpuset')}/cpuset.cpus`)).toBe('0');
    await shim.call('limitGroup', { ...LIMITS, cpuQuotaUs: '-1', cpusetCpus: 'inherit' });
    expect(read(VERSION === 2 ? `${cpu}/cpu.max` : `${cpu}/cpu.cfs_quota_us`)).toMatch(/^(-1|max 100000)$/);
    const allowed = read(`/proc/${process.pid}/status`).match(/Cpus_allowed_list:\s*(\S+)/)?.[1];
    expect(read(`/proc/${pid}/status`).match(/Cpus_allowed_list:\s*(\S+)/)?.[1]).toBe(allowed);
    await shim.call('close', {});
    expect(existsSync(cpu)).toBe(false);
  });

  test('a second one is refused', async () => {
    const shim = await new PlayedShim().start();
    await shim.call('enterGroup', { path: newPath(), ownParents: true });
    expect(await shim.call('enterGroup', { path: newPath(), ownParents: true })).toMatchObject({
      error: expect.stringContaining('in one already'),
    });
  });
});

describe('what a bundle may name', () => {
  test("not a group that holds somebody else's processes: it stays as it is", async () => {
    const path = `/tskata-test-${process.pid}-other`;
    const theirs = directory(path, 'memory');
    mkdirSync(theirs);
    const sleeper = spawn('sleep', ['1000']);
    try {
      writeFileSync(`${theirs}/cgroup.procs`, String(sleeper.pid));
      const limit = VERSION === 2 ? 'memory.max' : 'memory.limit_in_bytes';
      const before = read(`${theirs}/${limit}`);
      const shim = await new PlayedShim().start();
      const answer = await shim.call('enterGroup', { path, ownParents: false, limits: LIMITS });
      expect(answer.error).toMatch(/it exists, and holds 1 processes that are not of this sandbox/);
      expect(read(`${theirs}/${limit}`)).toBe(before);
      expect(read(`${theirs}/cgroup.procs`)).toBe(String(sleeper.pid));
      // Nothing of ours is left in the other hierarchies.
      expect(existsSync(join(build.runRoot, 'cgroups'))).toBe(true);
    } finally {
      const gone = once(sleeper, 'exit');
      sleeper.kill('SIGKILL');
      await gone;
      if (existsSync(theirs)) rmdirSync(theirs);
    }
  });

  test('not one with groups of others below it: no limit is put over them', async () => {
    const path = `/tskata-test-${process.pid}-above`;
    const theirs = directory(path, 'memory');
    mkdirSync(join(theirs, 'below'), { recursive: true });
    try {
      const limit = VERSION === 2 ? 'memory.max' : 'memory.limit_in_bytes';
      const before = read(`${theirs}/${limit}`);
      const shim = await new PlayedShim().start();
      const answer = await shim.call('enterGroup', { path, ownParents: true, limits: LIMITS });
      expect(answer.error).toContain('has groups below that are not of this sandbox');
      expect(read(`${theirs}/${limit}`)).toBe(before);
      expect(existsSync(join(theirs, 'below'))).toBe(true);
    } finally {
      rmdirSync(join(theirs, 'below'));
      rmdirSync(theirs);
    }
  });

  test('not a path that is none, or that leads elsewhere', async () => {
    const shim = await new PlayedShim().start();
    for (const path of ['/', '/..', '/../x', '/a/../../b', 'a', '', '/a b', `/${'x'.repeat(300)}`]) {
      expect((await shim.call('enterGroup', { path, ownParents: true })).error, path).toContain('enter cgroup');
    }
  });
});

test('what a killed keeper and a killed shim left goes with gc, which names it', async () => {
  const shim = await new PlayedShim().start();
  const path = newPath();
  await shim.call('enterGroup', { path, ownParents: true, limits: { ...LIMITS, cpuQuotaUs: '150000' } });
  await shim.call('spawn', {});
  const gone = once(shim.process, 'exit');
  process.kill(shim.keeper, 'SIGKILL');
  process.kill(shim.pid, 'SIGKILL');
  await gone;
  const memory = directory(path, 'memory');
  expect(existsSync(memory)).toBe(true);
  let told = '';
  // The killed programs leave when the kernel gets to it.
  for (let attempt = 0; existsSync(memory) && attempt < 200; attempt++) {
    told += execFileSync(build.helper, ['gc', build.runRoot], { encoding: 'utf8' });
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect(told).toContain(`cgroup ${memory}`);
  expect(existsSync(directory(path, 'cpu'))).toBe(false);
  expect(existsSync(dirname(dirname(memory)))).toBe(false);
});
