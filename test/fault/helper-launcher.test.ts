/**
 * The launcher as containerd runs it, with a stand-in for the shim's program: what is answered, what the shim gets, what
 * happens when two start at once and when a dead one is deleted.
 */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { BootstrapParams } from '../../runtime/helper/generated/bootstrap.ts';
import { Any } from '../../runtime/helper/generated/google.ts';
import { Options } from '../../runtime/helper/generated/runtime-options.ts';
import { findProcess } from '../../runtime/state/process-ref.ts';
import { encodeRecord } from '../../runtime/state/record.ts';
import { decodeAssign } from '../../shim/assign.ts';
import { DeleteResponse } from '../../shim/task/generated/task.ts';
import { buildHelper, type HelperBuild } from '../helpers/native.ts';
import { eventually } from '../helpers/tskata.ts';

/** Tells what it was given to whoever asks. */
const SHIM = `
  const net = require('node:net');
  const fs = require('node:fs');
  const fds = fs.readdirSync('/proc/self/fd').filter((fd) => Number(fd) <= 4);
  let assign = '';
  const socket = new net.Socket({ fd: 4 });
  socket.on('data', (chunk) => { assign += chunk; });
  socket.on('end', () => {
    socket.destroy();
    const server = net.createServer((client) => {
      const session = fs.readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ')[3];
      const facts = { assign, fds, env: process.env, cwd: process.cwd(), pid: process.pid, session };
      client.on('error', () => {});
      client.once('data', () => client.end(JSON.stringify(facts)));
    });
    server.listen({ fd: 3 });
  });
  setTimeout(() => process.exit(0), 20000);
`;

let build: HelperBuild;
let launcher: string;
let bundle: string;
let environment: NodeJS.ProcessEnv;
let counter = 0;
const shims = new Set<number>();

beforeAll(async () => {
  build = await buildHelper();
  const lib = join(build.directory, 'lib');
  symlinkSync('tskata-helper', join(lib, 'containerd-shim-tskata-v2'));
  symlinkSync('tskata-helper', join(lib, 'tskata'));
  symlinkSync(process.execPath, join(lib, 'node'));
  writeFileSync(join(lib, 'shim.js'), SHIM);
  writeFileSync(join(lib, 'tskata.js'), 'console.log(JSON.stringify([process.argv.slice(2), process.env]))');
  launcher = join(lib, 'containerd-shim-tskata-v2');
  environment = {
    TSKATA_RUN_ROOT: build.runRoot,
    TSKATA_LIB_ROOT: join(build.directory, 'state'),
    SECRET: 'x',
    NODE_OPTIONS: '--no-such-flag',
  };
});

beforeEach(() => {
  counter += 1;
  bundle = mkdtempSync(join(build.directory, 'bundle-'));
});

afterAll(async () => {
  for (const pid of shims) await kill(pid);
  await build.remove();
});

function args(command: string, id = `c${counter}`): string[] {
  return ['-namespace', 'default', '-address', '/run/a.sock', '-publish-binary', '', '-id', id, command];
}

async function start(id?: string): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)(launcher, args('start', id), {
    cwd: bundle,
    env: { ...environment, TTRPC_ADDRESS: '/run/t.sock' },
  });
  expect(stderr).toBe('');
  return stdout;
}

async function facts(address: string): Promise<Record<string, unknown> & { assign: string; pid: number }> {
  const socket = connect(address.replace('unix://', ''));
  socket.write('tell');
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  const told = JSON.parse(Buffer.concat(chunks).toString());
  shims.add(told.pid);
  return told;
}

async function kill(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  shims.delete(pid);
  // Nobody's child here: there is no event to wait for.
  while (findProcess(pid) !== undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  // The first thread is a zombie before the last one has closed the listening socket.
  while (threadsOf(pid) > 1) await new Promise((resolve) => setTimeout(resolve, 5));
}

function threadsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).length;
  } catch {
    return 0;
  }
}

test('start answers one address that can be connected to at once', async () => {
  const address = await start();
  expect(address).toMatch(/^unix:\/\/\/.+\/run\/s\/[0-9a-f]{32}\.sock$/);
  expect(readFileSync(join(bundle, 'address'), 'utf8')).toBe(address);
  const told = await facts(address);
  const assign = decodeAssign(told.assign.trim());
  expect(assign).toEqual({
    namespace: 'default',
    id: `c${counter}`,
    bundle,
    socketPath: address.replace('unix://', ''),
    runRoot: build.runRoot,
    libRoot: join(build.directory, 'state'),
    containerdAddress: '/run/a.sock',
    ttrpcAddress: '/run/t.sock',
    publishBinary: '',
    caller: 'containerd',
    configPath: '',
    debug: false,
  });
  expect(told.fds).toEqual(['0', '1', '2', '3', '4']);
  expect(told.cwd).toBe('/');
  expect(told.session).toBe(String(told.pid));
  expect(Object.keys(told.env as object).filter((name) => name !== 'PATH' && name !== 'NODE_COMPILE_CACHE')).toEqual(
    [],
  );
  expect(statSync(join(build.runRoot, 's')).mode & 0o777).toBe(0o700);
});

test('of many starts of one id exactly one wins', async () => {
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => start()));
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  for (const result of results) {
    if (result.status === 'rejected') expect(String(result.reason)).toContain('is running already');
  }
  await facts(readFileSync(join(bundle, 'address'), 'utf8'));
});

test('a socket that a dead shim left is no obstacle', async () => {
  const address = await start();
  const { pid } = await facts(address);
  await kill(pid);
  expect(existsSync(address.replace('unix://', ''))).toBe(true);
  expect(await start()).toBe(address);
  await facts(address);
});

test('a container of a pod gets the address of its sandbox, and none when that is gone', async () => {
  const sandbox = `pod${counter}`;
  const address = await start(sandbox);
  const annotations = {
    'io.kubernetes.cri.container-type': 'container',
    'io.kubernetes.cri.sandbox-id': sandbox,
  };
  bundle = mkdtempSync(join(build.directory, 'bundle-'));
  writeFileSync(join(bundle, 'config.json'), JSON.stringify({ ociVersion: '1.0.2', annotations }));
  expect(await start()).toBe(address);
  expect(readFileSync(join(bundle, 'address'), 'utf8')).toBe(address);
  const { pid } = await facts(address);
  await kill(pid);
  await expect(start()).rejects.toThrow('is not running');
});

test.each([
  [['-namespace', 'default', '-id', '../x', 'start'], 'flag -id'],
  [['-namespace', '', '-id', 'x', 'start'], 'flag -namespace'],
  [['-namespace', 'default', '-id', 'x', 'stop'], 'unknown command "stop"'],
  [['-namespace', 'default', '-id', 'x', 'start', 'extra'], 'unexpected argument "extra"'],
  [['-nonsense', 'start'], 'unknown flag -nonsense'],
])('%j is refused', async (line, words) => {
  const failed = await promisify(execFile)(launcher, line, { cwd: bundle, env: environment }).catch((error) => error);
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain(words);
  expect(failed.stdout).toBe('');
});

test('a missing program is named', async () => {
  const other = join(build.directory, `broken-${counter}`);
  mkdirSync(other);
  execFileSync('cp', [build.helper, join(other, 'containerd-shim-tskata-v2')]);
  const work = promisify(execFile)(join(other, 'containerd-shim-tskata-v2'), args('start'), {
    cwd: bundle,
    env: environment,
  });
  await expect(work).rejects.toThrow('node is missing');
  expect(existsSync(join(bundle, 'address'))).toBe(false);
});

function runDelete(id: string): DeleteResponse {
  const line = [...args('delete', id).slice(0, -1), '-bundle', bundle, 'delete'];
  return DeleteResponse.decode(execFileSync(launcher, line, { cwd: '/', env: environment }));
}

test('delete of what nobody knows is an answer', () => {
  const first = runDelete('nobody');
  expect(first).toMatchObject({ pid: 0, exitStatus: 137 });
  expect(Math.abs(Number(first.exitedAt?.seconds) - Date.now() / 1000)).toBeLessThan(5);
  expect(runDelete('nobody').exitStatus).toBe(137);
});

test('delete unmounts what is on the rootfs of its bundle, and nothing that a link leads to', () => {
  const elsewhere = mkdtempSync(join(build.directory, 'elsewhere-'));
  const isMounted = (path: string): boolean => readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${path} `);
  mkdirSync(join(elsewhere, 'rootfs'));
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', join(elsewhere, 'rootfs')]);
  symlinkSync(join(elsewhere, 'rootfs'), join(bundle, 'rootfs'));
  runDelete('nobody');
  expect(isMounted(join(elsewhere, 'rootfs'))).toBe(true);
  rmSync(bundle, { recursive: true });
  symlinkSync(elsewhere, bundle);
  runDelete('nobody');
  expect(isMounted(join(elsewhere, 'rootfs'))).toBe(true);
  rmSync(bundle);
  bundle = elsewhere;
  runDelete('nobody');
  expect(isMounted(join(elsewhere, 'rootfs'))).toBe(false);
});

function writeRecord(id: string, sandbox: string, shim: { pid: number; startTicks: number }, exit?: object): string {
  const directory = join(build.runRoot, 'default', id);
  mkdirSync(join(directory, 'deep', 'er'), { recursive: true });
  writeFileSync(join(directory, 'deep', 'er', 'file'), 'x');
  symlinkSync('/etc', join(directory, 'deep', 'link'));
  writeFileSync(
    join(directory, 'state.json'),
    encodeRecord({
      version: 1,
      namespace: 'default',
      id,
      sandbox,
      bundle,
      socket: '/x',
      shim,
      status: 'running',
      createdAt: new Date().toISOString(),
      annotations: {},
      ...exit,
    }),
  );
  return directory;
}

test('delete ends what the record names, and removes its directory', async () => {
  const sleeper = spawn('sleep', ['1000']);
  const shim = findProcess(sleeper.pid ?? 0);
  if (shim === undefined) throw new Error('no process');
  const directory = writeRecord('dead', 'dead', shim);
  const ended = once(sleeper, 'exit');
  expect(runDelete('dead').exitStatus).toBe(137);
  expect((await ended)[1]).toBe('SIGKILL');
  expect(existsSync(directory)).toBe(false);
  expect(existsSync('/etc/passwd')).toBe(true);
});

test('delete is done within the 5 s that containerd gives it, though all hang', async () => {
  const hanging = ['shim', 'keeper', 'qemu'].map((name) => {
    const child = spawn('sleep', ['1000']);
    child.kill('SIGSTOP');
    return { name, ref: findProcess(child.pid ?? 0), ended: once(child, 'exit') };
  });
  const [shim, ...others] = hanging;
  if (shim?.ref === undefined) throw new Error('no process');
  writeRecord('hung', 'hung', shim.ref, Object.fromEntries(others.map(({ name, ref }) => [name, ref])));
  const before = performance.now();
  expect(runDelete('hung').exitStatus).toBe(137);
  expect(performance.now() - before).toBeLessThan(5_000);
  for (const { ended } of hanging) expect((await ended)[1]).toBe('SIGKILL');
});

test('delete never touches a later process with the same number', () => {
  const sleeper = spawn('sleep', ['1000']);
  const ref = findProcess(sleeper.pid ?? 0);
  if (ref === undefined) throw new Error('no process');
  writeRecord('reused', 'reused', { pid: ref.pid, startTicks: ref.startTicks - 1 });
  runDelete('reused');
  expect(findProcess(ref.pid)).toEqual(ref);
  sleeper.kill('SIGKILL');
});

test('delete of a container never ends the machine of its pod', () => {
  const sleeper = spawn('sleep', ['1000']);
  const ref = findProcess(sleeper.pid ?? 0);
  if (ref === undefined) throw new Error('no process');
  const directory = writeRecord('member', 'podsandbox', ref);
  runDelete('member');
  expect(findProcess(ref.pid)).toEqual(ref);
  expect(existsSync(directory)).toBe(false);
  sleeper.kill('SIGKILL');
});

test('delete leaves a shim alone that was started after it, for the same id', async () => {
  const line = [...args('delete', 'again').slice(0, -1), '-bundle', bundle, 'delete'];
  // A delete that is old when it runs: exec keeps the time at which the process began.
  const late = spawn('sh', ['-c', 'kill -STOP $$; exec "$0" "$@"', launcher, ...line], { env: environment });
  await eventually(() => /^State:\tT/m.test(readFileSync(`/proc/${late.pid}/status`, 'utf8')), 5_000, 'the stop');
  await sleep(50);
  const sleeper = spawn('sleep', ['1000']);
  const ref = findProcess(sleeper.pid ?? 0);
  if (ref === undefined) throw new Error('no process');
  const directory = writeRecord('again', 'again', ref);
  late.kill('SIGCONT');
  expect(await once(late, 'exit')).toEqual([0, null]);
  expect(findProcess(ref.pid)).toEqual(ref);
  expect(existsSync(directory)).toBe(true);
  sleeper.kill('SIGKILL');
});

test('delete ends a shim that came to no Create', async () => {
  const address = await start('early');
  const { pid } = await facts(address);
  runDelete('early');
  await eventually(() => findProcess(pid) === undefined, 5_000, 'the end of the shim');
  shims.delete(pid);
  expect(existsSync(address.replace('unix://', ''))).toBe(false);
  expect(existsSync(join(build.runRoot, 'default', 'early'))).toBe(false);
});

test('delete answers with a recorded exit', () => {
  const at = '2024-05-06T07:08:09.250Z';
  writeRecord('exited', 'exited', { pid: 4_000_000, startTicks: 1 }, { exit: { status: 3, at, oomKilled: false } });
  const answer = runDelete('exited');
  expect(answer.exitStatus).toBe(3);
  expect(Number(answer.exitedAt?.seconds)).toBe(Math.floor(Date.parse(at) / 1000));
  expect(answer.exitedAt?.nanos).toBe(250_000_000);
});

test('the command line gets its arguments, and no variable that steers Node', () => {
  const output = execFileSync(join(build.directory, 'lib', 'tskata'), ['run', '--x', ''], { env: environment });
  const [argv, env] = JSON.parse(output.toString()) as [string[], Record<string, string>];
  expect(argv).toEqual(['run', '--x', '']);
  expect(env.SECRET).toBe('x');
  expect(env.NODE_OPTIONS).toBeUndefined();
});

const OPTIONS = { typeUrl: 'runtimeoptions.v1.Options', value: Options.encode({ configPath: '/etc/other.toml' }) };
const PARAMS = { containerdVersion: '2.3.0', containerdTtrpcAddress: '/run/other.ttrpc' };

/** The assign message of a shim that was started with these bytes in a pipe, as containerd does. */
async function startWith(input: Uint8Array, more: NodeJS.ProcessEnv = {}): Promise<Record<string, unknown>> {
  const file = join(bundle, 'input');
  writeFileSync(file, input);
  const { stdout } = await promisify(execFile)('sh', ['-c', 'cat "$0" | "$@"', file, launcher, ...args('start')], {
    cwd: bundle,
    env: { PATH: process.env.PATH, ...environment, ...more },
  });
  return JSON.parse((await facts(stdout)).assign) as Record<string, unknown>;
}

test.each([
  ['nothing', new Uint8Array(0), ''],
  ['options of containerd up to 2.2', Any.encode(OPTIONS), '/etc/other.toml'],
  ['options of another runtime', Any.encode({ typeUrl: 'containerd.runc.v1.Options', value: Buffer.of(8, 1) }), ''],
  ['no options of containerd 2.3', BootstrapParams.encode(PARAMS), ''],
  [
    'options of containerd 2.3',
    // With the fields that look like an Any, and a number that a later version may add.
    Buffer.concat([
      Any.encode({ typeUrl: 'id', value: Buffer.from('ns') }),
      BootstrapParams.encode({ ...PARAMS, extensions: [{ value: { typeUrl: 'x' } }, { value: OPTIONS }] }),
      Buffer.of(0x7a, 0x01, 0x00),
    ]),
    '/etc/other.toml',
  ],
])('standard input: %s', async (_what, input, configPath) => {
  expect(await startWith(input)).toMatchObject({ configPath });
});

test('the address for events comes from the environment, or from containerd 2.3', async () => {
  const input = BootstrapParams.encode(PARAMS);
  expect(await startWith(input)).toMatchObject({ ttrpcAddress: '/run/other.ttrpc' });
  counter += 1;
  expect(await startWith(input, { TTRPC_ADDRESS: '/run/t.sock' })).toMatchObject({ ttrpcAddress: '/run/t.sock' });
});

test.each([
  ['relative path', Options.encode({ configPath: 'x.toml' }), 'is not an absolute path'],
  [
    'keys that would be ignored',
    Options.encode({ configBody: Buffer.from('Debug = true') }),
    'only ConfigPath is known',
  ],
])('options with a %s are refused', async (_what, value, words) => {
  await expect(startWith(Any.encode({ ...OPTIONS, value }))).rejects.toThrow(words);
  expect(existsSync(join(bundle, 'address'))).toBe(false);
});

test('a container of a CRI-O pod is grouped as well', async () => {
  const address = await start('crio-pod');
  bundle = mkdtempSync(join(build.directory, 'bundle-'));
  const annotations = { 'io.kubernetes.cri-o.ContainerType': 'container', 'io.kubernetes.cri-o.SandboxID': 'crio-pod' };
  writeFileSync(join(bundle, 'config.json'), JSON.stringify({ ociVersion: '1.0.2', annotations }));
  expect(await start()).toBe(address);
  await facts(address);
});

test('version and info', () => {
  expect(execFileSync(launcher, ['-v']).toString()).toContain('Version: ');
  // RuntimeInfo {name = 1, version = 2 {version = 1}}.
  const info = execFileSync(launcher, ['-info'], { input: '' });
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'));
  const inner = Buffer.concat([Buffer.of(0x0a, version.length), Buffer.from(version)]);
  const name = 'io.containerd.tskata.v2';
  const outer = [Buffer.of(0x0a, name.length), Buffer.from(name), Buffer.of(0x12, inner.length), inner];
  expect(info).toEqual(Buffer.concat(outer));
});

test('gc removes sockets that nobody serves, and leaves those that somebody does', async () => {
  const address = await start();
  const dead = join(build.runRoot, 's', 'dead.sock');
  const program = `require('node:net').createServer().listen('${dead}', () => process.kill(process.pid, 'SIGKILL'))`;
  await once(spawn(process.execPath, ['-e', program]), 'exit');
  expect(existsSync(dead)).toBe(true);
  const said = execFileSync(build.helper, ['gc', build.runRoot]).toString();
  expect(said).toContain(`socket ${dead}`);
  expect(existsSync(dead)).toBe(false);
  expect((await facts(address)).pid).toBeGreaterThan(0);
});

test.each(['', '/', '/run', 'run/x', '/run/../etc'])('gc refuses %j as a run root', (root) => {
  expect(() => execFileSync(build.helper, ['gc', root], { stdio: 'pipe' })).toThrow('is no run root');
});
