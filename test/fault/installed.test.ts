/** The programs as they are installed, not as they are built: what a command has to find beside itself. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { StateStore } from '../../runtime/state/store.ts';
import { eventually, Tskata } from '../helpers/tskata.ts';

const INSTALL = join(import.meta.dirname, '../../runtime/setup/install.ts');
const DEMO = join(import.meta.dirname, '../../runtime/setup/demo.ts');
let prefix: string;
let tskata: Tskata;

beforeAll(async () => {
  prefix = mkdtempSync(join(tmpdir(), 'tsk-prefix-'));
  const { status, stderr } = spawnSync(process.execPath, [INSTALL], {
    env: { ...process.env, TSKATA_PREFIX: prefix },
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`install: ${stderr}`);
  tskata = new Tskata(prefix);
  await tskata.ok('load', '--builtin', 'busybox');
});

afterAll(async () => {
  await tskata.dispose();
  rmSync(prefix, { recursive: true, force: true });
});

test('show what they are for: the demo says its command, both kernels, the accelerator and the times', async () => {
  const { runRoot, libRoot } = tskata;
  const env = { ...process.env, TSKATA_PREFIX: prefix, TSKATA_RUN_ROOT: runRoot, TSKATA_LIB_ROOT: libRoot };
  const { status, stdout, stderr } = spawnSync(process.execPath, [DEMO], { env, encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout).toMatch(/^accelerator: (KVM|TCG).*\n\n\$ tskata run --rm busybox uname -r\n/);
  const [, guest] = /^guest kernel +(\S+)$/m.exec(stdout) ?? [];
  expect(guest).toMatch(/-tskata$/);
  expect(stdout).toMatch(new RegExp(`^host kernel +${release()}$`, 'm'));
  expect(stdout).toMatch(/^start +\d+\.\d\d s, /m);
  expect(stdout).toMatch(/^whole run +\d+\.\d\d s, /m);
  expect(await tskata.ok('list', '-q')).toBe('');
});

test('run a container, and clean up after a shim that was killed', async () => {
  const id = await tskata.ok('run', '-d', '--network', 'none', 'busybox', 'sleep', '1000');
  const record = new StateStore(tskata.runRoot).find('default', id);
  process.kill(record?.shim.pid ?? 0, 'SIGKILL');
  const list = async (): Promise<unknown> => JSON.parse(await tskata.ok('list', '--json'));
  await eventually(async () => JSON.stringify(await list()).includes('"stopped"'), 5_000, 'a stopped container');
  expect(await list()).toMatchObject([{ status: 'stopped', exitStatus: 137 }]);
  await tskata.ok('rm', id);
  await tskata.ok('gc');
  await eventually(() => tskata.leaks().length === 0, 3_000, 'a clean machine');
});
