/**
 * The keeper and its confined programs when things go wrong: killed from above and from inside, refused, hostile paths.
 * Programs are a static busybox; the keeper is the real one.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { type Keeper, startKeeper } from '../../runtime/helper-client/keeper.ts';
import { spawnChild, startStandIn } from '../../runtime/helper-client/process-host.ts';
import type { ChildSpec } from '../../runtime/vm/process-host.ts';
import { buildHelper, type HelperBuild } from '../helpers/native.ts';

const BUSYBOX = { source: '/bin/busybox', target: '/bin/busybox', readOnly: true, executable: true };
const UID = 300_100;

let build: HelperBuild;
const keepers: Keeper[] = [];

function program(name: string, args: readonly string[], changes: Partial<ChildSpec> = {}): ChildSpec {
  const jail = {
    binds: [BUSYBOX],
    network: 'none' as const,
    proc: false,
    newPidNamespace: true,
    keepCapabilities: [],
    additionalGids: [],
  };
  return { name, executable: '/bin/busybox', args, descriptors: [], jail, ...changes };
}

async function keeper(inherited: readonly string[] = []): Promise<Keeper> {
  const started = await startKeeper({ helper: build.helper, runRoot: build.runRoot, inherited, onLog: () => {} });
  keepers.push(started);
  return started;
}

function isGone(pid: number): boolean {
  try {
    return /^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true;
  }
}

/** Milliseconds until none of them is left. */
async function gone(pids: readonly number[], deadlineMs: number): Promise<number> {
  const start = performance.now();
  while (!pids.every(isGone)) {
    if (performance.now() - start > deadlineMs)
      throw new Error(`still there after ${deadlineMs} ms: ${pids.filter((pid) => !isGone(pid))}`);
    // The end of somebody else's child is no event that this process could wait for.
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return performance.now() - start;
}

async function refusal(work: Promise<unknown>): Promise<TskataError> {
  const error = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(TskataError);
  return error as TskataError;
}

beforeAll(async () => {
  build = await buildHelper();
});

afterEach(async () => {
  await Promise.all(keepers.splice(0).map((one) => one.close()));
});

afterAll(() => build.remove());

/** A shim of its own process: starts a keeper with two programs, prints all pids, waits. */
function startShim(): ChildProcess {
  const source = `
    import { startKeeper } from '${join(import.meta.dirname, '../../runtime/helper-client/keeper.ts')}';
    import { spawnChild, startStandIn } from '${join(import.meta.dirname, '../../runtime/helper-client/process-host.ts')}';
    const keeper = await startKeeper({ helper: '${build.helper}', runRoot: '${build.runRoot}', inherited: [], onLog: () => {} });
    const one = await spawnChild(keeper, ${JSON.stringify(program('one', ['sleep', '1000']))}, ${UID});
    const two = await spawnChild(keeper, ${JSON.stringify(program('two', ['sh', '-c', 'trap "" TERM INT HUP; while :; do :; done']))}, ${UID});
    console.log([keeper.pid, one.pid, two.pid].join(' '));
    setInterval(() => {}, 1000);
  `;
  const script = join(build.directory, 'shim.mjs');
  writeFileSync(script, source);
  return spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function pidsOf(shim: ChildProcess): Promise<number[]> {
  if (shim.stdout === null) throw new Error('no pipe');
  const [line] = (await once(createInterface(shim.stdout), 'line')) as [string];
  return line.split(' ').map(Number);
}

test('kill -9 of the shim ends keeper and programs within a second', async () => {
  const shim = startShim();
  const pids = await pidsOf(shim);
  shim.kill('SIGKILL');
  expect(await gone(pids, 1000)).toBeLessThan(1000);
});

test('kill -9 of the keeper ends its programs within a second', async () => {
  const shim = startShim();
  const [keeperPid = 0, ...programs] = await pidsOf(shim);
  process.kill(keeperPid, 'SIGKILL');
  expect(await gone(programs, 1000)).toBeLessThan(1000);
  shim.kill('SIGKILL');
});

test('a stopped shim does not end anything, its continuation works', async () => {
  const shim = startShim();
  const pids = await pidsOf(shim);
  shim.kill('SIGSTOP');
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(pids.some(isGone)).toBe(false);
  shim.kill('SIGKILL');
  await gone(pids, 1000);
});

test('a confined program has exactly the descriptors that were asked for', async () => {
  const host = await keeper(['first', 'second']);
  const file = join(build.directory, 'disk');
  writeFileSync(file, 'x');
  const child = await spawnChild(
    host,
    program('fds', ['sleep', '1000'], {
      descriptors: [
        { kind: 'inherited', name: 'second' },
        { kind: 'file', path: file, writable: false },
        { kind: 'pair', name: 'ends' },
      ],
    }),
    UID,
  );
  const directory = `/proc/${child.pid}/fd`;
  expect(
    readdirSync(directory)
      .map(Number)
      .sort((a, b) => a - b),
  ).toEqual([0, 1, 2, 3, 4, 5]);
  expect(readlinkSync(`${directory}/0`)).toBe('/dev/null');
  expect(readlinkSync(`${directory}/4`)).toBe(file);
  expect(readFileSync(`/proc/${child.pid}/fdinfo/4`, 'utf8')).toMatch(/^flags:\t0[0-7]*0$/m);
});

test('the end of a program shows on the socket that it inherited', async () => {
  const host = await keeper(['console']);
  const spec = program('short', ['sh', '-c', 'echo hello >&3'], {
    descriptors: [{ kind: 'inherited', name: 'console' }],
  });
  const child = await spawnChild(host, spec, UID);
  const chunks: Buffer[] = [];
  for await (const chunk of host.socket('console')) chunks.push(chunk as Buffer);
  expect(Buffer.concat(chunks).toString()).toBe('hello\n');
  expect(await child.exited).toBe(0);
});

test('exit codes and signals are reported as shells do', async () => {
  const host = await keeper();
  const seven = await spawnChild(host, program('seven', ['sh', '-c', 'exit 7']), UID);
  expect(await seven.exited).toBe(7);
  const killed = await spawnChild(host, program('killed', ['sleep', '1000']), UID);
  await killed.signal(9);
  expect(await killed.exited).toBe(137);
  await killed.signal(9);
});

test('a step that fails is named, and nothing is left of the child', async () => {
  const host = await keeper();
  const missing = await refusal(spawnChild(host, program('none', [], { executable: '/bin/nothing' }), UID));
  expect(missing.message).toContain('execute /bin/nothing: ENOENT');
  expect(missing.code).toBe(Code.NotFound);
  const spec = program('bind', ['true']);
  const jail = { ...spec.jail, binds: [BUSYBOX, { source: '/no/such/thing', target: '/x', readOnly: true }] };
  expect((await refusal(spawnChild(host, { ...spec, jail }, UID))).message).toContain('/no/such/thing: ENOENT');
  const children = readFileSync(`/proc/${host.pid}/task/${host.pid}/children`, 'utf8');
  expect(children.trim()).toBe('');
  const again = await spawnChild(host, program('bind', ['true']), UID);
  expect(await again.exited).toBe(0);
});

test.each(['relative', '/', '/../etc', '/a/../../b', '/a//b', '/a/./b', '/a/'])(
  'a jail path %j is refused before anything is made',
  async (target) => {
    const host = await keeper();
    const spec = program('hostile', ['true']);
    const jail = { ...spec.jail, binds: [{ ...BUSYBOX, target }] };
    const error = await refusal(spawnChild(host, { ...spec, jail }, UID));
    expect(error.code).toBe(Code.InvalidArgument);
  },
);

test('a name that is in use is refused', async () => {
  const host = await keeper();
  await spawnChild(host, program('same', ['sleep', '1000']), UID);
  const error = await refusal(spawnChild(host, program('same', ['true']), UID));
  expect(error.code).toBe(Code.AlreadyExists);
});

test('a mount target that is a symbolic link is refused, in its last step', async () => {
  const host = await keeper();
  const victim = join(build.directory, 'victim');
  const link = join(build.directory, 'link');
  mkdirSync(victim);
  symlinkSync(victim, link);
  const error = await refusal(host.call.mount({ type: 'bind', source: '/etc', target: link, options: ['bind'] }));
  expect(error.code).toBe(Code.InvalidArgument);
  await host.call.mount({ type: 'bind', source: '/etc', target: victim, options: ['bind', 'ro'] });
  expect(readFileSync(`/proc/${host.pid}/mountinfo`, 'utf8')).toContain(` ${victim} ro`);
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(victim);
  await host.call.unmount({ target: victim });
  expect((await refusal(host.call.unmount({ target: victim }))).code).toBe(Code.NotFound);
  expect((await refusal(host.call.unmount({ target: '/proc' }))).code).toBe(Code.NotFound);
});

test('a FIFO is no disk', async () => {
  const host = await keeper();
  const path = join(build.directory, 'fifo');
  execFileSync(build.helper, ['fifo', path]);
  const descriptors = [{ kind: 'file' as const, path, writable: false }];
  const error = await refusal(spawnChild(host, program('fifo', ['true'], { descriptors }), UID));
  expect(error.message).toContain('neither a regular file nor a block device');
});

test('user ids are never given to two, and are free again after a crash', async () => {
  const [one, two] = [await keeper(), await keeper()];
  const range = { first: 310_000, count: 2 };
  const first = await one.call.claimUser(range);
  const second = await two.call.claimUser(range);
  expect(new Set([first.uid, second.uid])).toEqual(new Set([310_000, 310_001]));
  const third = await keeper();
  expect((await refusal(third.call.claimUser(range))).code).toBe(Code.ResourceExhausted);
  process.kill(one.pid, 'SIGKILL');
  await one.ended;
  expect(await third.call.claimUser(range)).toEqual(first);
  expect((await refusal(third.call.claimUser({ first: 0, count: 10 }))).code).toBe(Code.InvalidArgument);
});

test('a sparse file is copied with its holes, a failed copy leaves nothing', async () => {
  const host = await keeper();
  const source = join(build.directory, 'sparse');
  const target = join(build.directory, 'copy');
  writeFileSync(source, '');
  truncateSync(source, 128 << 20);
  execFileSync('dd', [
    `of=${source}`,
    'if=/dev/urandom',
    'bs=64K',
    'seek=1000',
    'count=3',
    'conv=notrunc',
    'status=none',
  ]);
  await host.call.copySparse({ source, target });
  execFileSync('cmp', [source, target]);
  expect(Number(execFileSync('stat', ['-c', '%b', target]).toString())).toBeLessThan(1000);
  await refusal(host.call.copySparse({ source: '/no/such/file', target: `${target}2` }));
  expect(existsSync(`${target}2`)).toBe(false);
  await refusal(host.call.copySparse({ source, target }));
  expect(existsSync(target)).toBe(true);
});

test('the sandbox network is a namespace of its own with its loopback up', async () => {
  const host = await keeper();
  const { path } = await host.call.openNetwork({ path: '' });
  expect(readlinkSync(path)).toMatch(/^net:\[/);
  expect(readlinkSync(path)).not.toBe(readlinkSync('/proc/self/ns/net'));
  expect(readlinkSync(`/proc/${host.pid}/ns/net`)).toBe(readlinkSync('/proc/self/ns/net'));
  const spec = program('tap', ['sleep', '1000'], { descriptors: [{ kind: 'tap', name: 'tap0' }] });
  const child = await spawnChild(host, { ...spec, jail: { ...spec.jail, network: 'sandbox' } }, UID);
  expect(readlinkSync(`/proc/${child.pid}/ns/net`)).toBe(readlinkSync(path));
  const links = readFileSync(`/proc/${child.pid}/net/dev`, 'utf8');
  expect(links).toContain('tap0:');
  expect(links).toContain('lo:');
});

test.each([
  ['floods without lines', 'cat /dev/zero >&3'],
  ['floods with lines', 'yes >&3'],
  ['answers nonsense', 'echo "{}" >&3; echo "not json" >&3; sleep 1000'],
  ['goes away', 'exit 0'],
])('a QEMU that %s costs its own call, not the keeper', async (_, script) => {
  const host = await keeper();
  const descriptors = [{ kind: 'pair' as const, name: 'qmp-fd' }];
  await spawnChild(host, program('evil', ['sh', '-c', script], { descriptors }), UID);
  const path = join(build.directory, 'evil-disk');
  writeFileSync(path, 'x');
  await refusal(host.call.addDescriptor({ fdset: 1, file: { path, writable: false } }, { timeoutMs: 5000 }));
  await refusal(host.call.addDescriptor({ fdset: 2, file: { path, writable: false } }, { timeoutMs: 5000 }));
  const memory = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${host.pid}/status`, 'utf8'))?.[1];
  expect(Number(memory)).toBeLessThan(12_000);
  const other = await spawnChild(host, program('other', ['true']), UID);
  expect(await other.exited).toBe(0);
});

test('a program that floods its log costs no memory, and no line is endless', async () => {
  const lines: string[] = [];
  const host = await startKeeper({
    helper: build.helper,
    runRoot: build.runRoot,
    inherited: [],
    onLog: (line) => void lines.push(line),
  });
  keepers.push(host);
  const script = 'head -c 3000000 /dev/zero | tr "\\0" x; echo; printf "a\\033[2Jb\\n"';
  const child = await spawnChild(host, program('loud', ['sh', '-c', script]), UID);
  expect(await child.exited).toBe(0);
  await host.close();
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(1000);
  expect(lines).toContain('a?[2Jb');
});

/** Sum of a process's private memory, in kB. */
function privateKib(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return [...rollup.matchAll(/^Private_\w+:\s+(\d+) kB/gm)].reduce((sum, [, kib]) => sum + Number(kib), 0);
}

test('a stand-in only exists: in the sandbox network, without files, memory or signals, until it is killed', async () => {
  const one = await keeper();
  const opened = await one.call.openNetwork({ path: '' }, { timeoutMs: 5_000 });
  const standIn = await startStandIn(one, 'stand-in-1', 'my-container', '');
  const other = await startStandIn(one, 'stand-in-2', 'my-other', '');
  expect(readFileSync(`/proc/${standIn.pid}/cmdline`, 'utf8')).toBe('tskata-stand-in\0my-container\0');
  expect(readFileSync(`/proc/${standIn.pid}/comm`, 'utf8')).toBe('tskata-stand-in\n');
  const network = readlinkSync(`/proc/${standIn.pid}/ns/net`);
  expect(network).toBe(readlinkSync(opened.path));
  expect(readlinkSync(`/proc/${other.pid}/ns/net`)).toBe(network);
  const files = readdirSync(`/proc/${standIn.pid}/fd`).map((fd) => readlinkSync(`/proc/${standIn.pid}/fd/${fd}`));
  expect(files).toEqual(['/dev/null', '/dev/null', '/dev/null']);
  expect(privateKib(standIn.pid)).toBeLessThan(200);
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGUSR1'] as const) process.kill(standIn.pid, signal);
  await standIn.signal(9);
  expect(await standIn.exited).toBe(128 + 9);
  expect(isGone(standIn.pid)).toBe(true);
  // Its name is free again, and nothing is remembered of it.
  expect((await startStandIn(one, 'stand-in-1', 'my-container', '')).pid).not.toBe(standIn.pid);
  process.kill(one.pid, 'SIGKILL');
  expect(await gone([other.pid], 2_000)).toBeLessThan(1_000);
});

test('an upgrade that replaces its program does not disturb it: it goes on with what it began with', async () => {
  const one = await keeper();
  await one.call.openNetwork({ path: '' }, { timeoutMs: 5_000 });
  const program = statSync(build.helper).ino;
  copyFileSync(build.helper, `${build.helper}.new`);
  renameSync(`${build.helper}.new`, build.helper);
  const standIn = await startStandIn(one, 'stand-in-1', 'my-container', '');
  expect(statSync(`/proc/${standIn.pid}/exe`).ino).toBe(program);
});
