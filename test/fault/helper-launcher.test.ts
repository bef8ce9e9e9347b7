/**
 * The launcher as containerd runs it, with a stand-in for the shim's program: what is answered, what the shim gets, and
 * what happens when two start at once.
 */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { BootstrapParams } from '../../runtime/helper/generated/bootstrap.ts';
import { Any } from '../../runtime/helper/generated/google.ts';
import { Options } from '../../runtime/helper/generated/runtime-options.ts';
import { decodeAssign } from '../../shim/assign.ts';
import { LaunchedShims } from '../helpers/launched-shims.ts';

let shims: LaunchedShims;

beforeAll(async () => {
  shims = await LaunchedShims.build();
});

beforeEach(() => shims.newBundle());

afterAll(() => shims.remove());

test('start answers one address that can be connected to at once', async () => {
  const address = await shims.start();
  expect(address).toMatch(/^unix:\/\/\/.+\/run\/s\/[0-9a-f]{32}\.sock$/);
  expect(readFileSync(join(shims.bundle, 'address'), 'utf8')).toBe(address);
  const told = await shims.facts(address);
  const assign = decodeAssign(told.assign.trim());
  expect(assign).toEqual({
    namespace: 'default',
    id: `c${shims.counter}`,
    bundle: shims.bundle,
    socketPath: address.replace('unix://', ''),
    runRoot: shims.build.runRoot,
    libRoot: join(shims.build.directory, 'state'),
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
  expect(statSync(join(shims.build.runRoot, 's')).mode & 0o777).toBe(0o700);
});

test('of many starts of one id exactly one wins', async () => {
  const results = await Promise.allSettled(Array.from({ length: 8 }, () => shims.start()));
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  for (const result of results) {
    if (result.status === 'rejected') expect(String(result.reason)).toContain('is running already');
  }
  await shims.facts(readFileSync(join(shims.bundle, 'address'), 'utf8'));
});

test('a shim that is about to end is waited for', async () => {
  const { pid } = await shims.facts(await shims.start());
  const again = shims.start();
  // Time for it to find the socket served: it says nothing until it has won.
  await new Promise((resolve) => setTimeout(resolve, 500));
  await shims.kill(pid);
  expect((await shims.facts(await again)).pid).not.toBe(pid);
});

test('a socket that a dead shim left is no obstacle', async () => {
  const address = await shims.start();
  const { pid } = await shims.facts(address);
  await shims.kill(pid);
  expect(existsSync(address.replace('unix://', ''))).toBe(true);
  expect(await shims.start()).toBe(address);
  await shims.facts(address);
});

test('a container of a pod gets the address of its sandbox, and none when that is gone', async () => {
  const sandbox = `pod${shims.counter}`;
  const address = await shims.start(sandbox);
  const annotations = {
    'io.kubernetes.cri.container-type': 'container',
    'io.kubernetes.cri.sandbox-id': sandbox,
  };
  shims.newBundle();
  writeFileSync(join(shims.bundle, 'config.json'), JSON.stringify({ ociVersion: '1.0.2', annotations }));
  expect(await shims.start()).toBe(address);
  expect(readFileSync(join(shims.bundle, 'address'), 'utf8')).toBe(address);
  const { pid } = await shims.facts(address);
  await shims.kill(pid);
  await expect(shims.start()).rejects.toThrow('is not running');
});

test.each([
  [['-namespace', 'default', '-id', '../x', 'start'], 'flag -id'],
  [['-namespace', '', '-id', 'x', 'start'], 'flag -namespace'],
  [['-namespace', 'default', '-id', 'x', 'stop'], 'unknown command "stop"'],
  [['-namespace', 'default', '-id', 'x', 'start', 'extra'], 'unexpected argument "extra"'],
  [['-nonsense', 'start'], 'unknown flag -nonsense'],
])('%j is refused', async (line, words) => {
  const failed = await promisify(execFile)(shims.launcher, line, { cwd: shims.bundle, env: shims.environment }).catch(
    (error) => error,
  );
  expect(failed.code).toBe(1);
  expect(failed.stderr).toContain(words);
  expect(failed.stdout).toBe('');
});

test('a missing program is named', async () => {
  const other = join(shims.build.directory, `broken-${shims.counter}`);
  mkdirSync(other);
  execFileSync('cp', [shims.build.helper, join(other, 'containerd-shim-tskata-v2')]);
  const work = promisify(execFile)(join(other, 'containerd-shim-tskata-v2'), shims.args('start'), {
    cwd: shims.bundle,
    env: shims.environment,
  });
  await expect(work).rejects.toThrow('node is missing');
  expect(existsSync(join(shims.bundle, 'address'))).toBe(false);
});

test('the command line gets its arguments, and no variable that steers Node', () => {
  const output = execFileSync(join(shims.build.directory, 'lib', 'tskata'), ['run', '--x', ''], {
    env: shims.environment,
  });
  const [argv, env] = JSON.parse(output.toString()) as [string[], Record<string, string>];
  expect(argv).toEqual(['run', '--x', '']);
  expect(env.SECRET).toBe('x');
  expect(env.NODE_OPTIONS).toBeUndefined();
});

const OPTIONS = { typeUrl: 'runtimeoptions.v1.Options', value: Options.encode({ configPath: '/etc/other.toml' }) };
const PARAMS = { containerdVersion: '2.3.0', containerdTtrpcAddress: '/run/other.ttrpc' };

/** The assign message of a shim that was started with these bytes in a pipe, as containerd does. */
async function startWith(input: Uint8Array, more: NodeJS.ProcessEnv = {}): Promise<Record<string, unknown>> {
  const file = join(shims.bundle, 'input');
  writeFileSync(file, input);
  const { stdout } = await promisify(execFile)(
    'sh',
    ['-c', 'cat "$0" | "$@"', file, shims.launcher, ...shims.args('start')],
    {
      cwd: shims.bundle,
      env: { PATH: process.env.PATH, ...shims.environment, ...more },
    },
  );
  return JSON.parse((await shims.facts(stdout)).assign) as Record<string, unknown>;
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
  shims.counter += 1;
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
  expect(existsSync(join(shims.bundle, 'address'))).toBe(false);
});

test('a container of a CRI-O pod is grouped as well', async () => {
  const address = await shims.start('crio-pod');
  shims.newBundle();
  const annotations = { 'io.kubernetes.cri-o.ContainerType': 'container', 'io.kubernetes.cri-o.SandboxID': 'crio-pod' };
  writeFileSync(join(shims.bundle, 'config.json'), JSON.stringify({ ociVersion: '1.0.2', annotations }));
  expect(await shims.start()).toBe(address);
  await shims.facts(address);
});

test('version and info', () => {
  expect(execFileSync(shims.launcher, ['-v']).toString()).toContain('Version: ');
  // RuntimeInfo {name = 1, version = 2 {version = 1}}.
  const info = execFileSync(shims.launcher, ['-info'], { input: '' });
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'));
  const inner = Buffer.concat([Buffer.of(0x0a, version.length), Buffer.from(version)]);
  const name = 'io.containerd.tskata.v2';
  const outer = [Buffer.of(0x0a, name.length), Buffer.from(name), Buffer.of(0x12, inner.length), inner];
  expect(info).toEqual(Buffer.concat(outer));
});

test('gc removes sockets that nobody serves, and leaves those that somebody does', async () => {
  const address = await shims.start();
  const dead = join(shims.build.runRoot, 's', 'dead.sock');
  const program = `require('node:net').createServer().listen('${dead}', () => process.kill(process.pid, 'SIGKILL'))`;
  await once(spawn(process.execPath, ['-e', program]), 'exit');
  expect(existsSync(dead)).toBe(true);
  const said = execFileSync(shims.build.helper, ['gc', shims.build.runRoot]).toString();
  expect(said).toContain(`socket ${dead}`);
  expect(existsSync(dead)).toBe(false);
  expect((await shims.facts(address)).pid).toBeGreaterThan(0);
});

test.each(['', '/', '/run', 'run/x', '/run/../etc'])('gc refuses %j as a run root', (root) => {
  expect(() => execFileSync(shims.build.helper, ['gc', root], { stdio: 'pipe' })).toThrow('is no run root');
});
