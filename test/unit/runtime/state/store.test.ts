import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findProcess, isAlive } from '../../../../runtime/state/process-ref.ts';
import { type ContainerRecord, decodeRecord, encodeRecord } from '../../../../runtime/state/record.ts';
import { isValidName, StateStore } from '../../../../runtime/state/store.ts';

let root: string;
let store: StateStore;

const RECORD: ContainerRecord = {
  version: 1,
  namespace: 'default',
  id: 'one',
  sandbox: 'one',
  bundle: '/bundle',
  socket: '/run/tskata/s/x.sock',
  shim: { pid: 10, startTicks: 20 },
  keeper: { pid: 11, startTicks: 21 },
  qemu: { pid: 12, startTicks: 22 },
  status: 'stopped',
  pid: 12,
  createdAt: '2026-01-01T00:00:00.000Z',
  startedAt: '2026-01-01T00:00:01.000Z',
  exit: { status: 137, at: '2026-01-01T00:00:02.000Z', oomKilled: true, reason: 'why' },
  annotations: { 'io.tskata.name': 'web' },
};

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'tskata-state-'));
  store = new StateStore(root);
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

test('a record comes back as it was written, for its owner alone', () => {
  store.write(RECORD);
  expect(store.find('default', 'one')).toEqual(RECORD);
  const directory = store.directory('default', 'one');
  expect(statSync(directory).mode & 0o777).toBe(0o700);
  expect(statSync(join(directory, 'state.json')).mode & 0o777).toBe(0o600);
  store.write({ ...RECORD, status: 'running' });
  expect(store.find('default', 'one')?.status).toBe('running');
  expect(readdirSync(directory)).toEqual(['state.json']);
});

test('a missing record is undefined, a wrong one is refused by its path', () => {
  expect(store.find('default', 'none')).toBeUndefined();
  const text = (change: object): string => JSON.stringify({ ...JSON.parse(encodeRecord(RECORD)), ...change });
  expect(() => decodeRecord('{')).toThrow('not JSON');
  expect(() => decodeRecord('[]')).toThrow('$: not an object');
  expect(() => decodeRecord(text({ version: 2 }))).toThrow('$.version: not 1');
  expect(() => decodeRecord(text({ extra: 1 }))).toThrow('$.extra: unknown field');
  expect(() => decodeRecord(text({ status: 'gone' }))).toThrow("$.status: 'gone' is none of");
  expect(() => decodeRecord(text({ shim: { pid: -1, startTicks: 0 } }))).toThrow('$.shim.pid: not a whole number');
  expect(() => decodeRecord(text({ annotations: { a: 1 } }))).toThrow('$.annotations.a: not a string');
  expect(() => decodeRecord(text({ exit: { status: 1, at: 'x', oomKilled: 'no' } }))).toThrow(
    '$.exit.oomKilled: not a boolean',
  );
});

test('names that could leave the root are refused', () => {
  for (const name of ['..', '.', '', 'a/b', '.hidden', 'a\0b', 'x'.repeat(129), 's', 'uids', 'cache', 'cgroups']) {
    expect(isValidName(name)).toBe(false);
    expect(() => store.directory(name, 'one')).toThrow('not a valid name');
  }
  expect(isValidName('a'.repeat(64))).toBe(true);
});

test('a listing shows broken records with their problem, and nothing that is no container', () => {
  store.write(RECORD);
  store.write({ ...RECORD, namespace: 'k8s.io', id: 'two' });
  mkdirSync(join(root, 'default', 'empty'), { recursive: true });
  mkdirSync(join(root, 'default', 'broken'));
  writeFileSync(join(root, 'default', 'broken', 'state.json'), '{}');
  mkdirSync(join(root, 's'));
  writeFileSync(join(root, 'default', 'file'), '');
  expect(store.list().map(({ namespace, id, record }) => [namespace, id, record?.status])).toEqual([
    ['default', 'broken', undefined],
    ['default', 'empty', undefined],
    ['default', 'one', 'stopped'],
    ['k8s.io', 'two', 'stopped'],
  ]);
  expect(store.list('default').find(({ id }) => id === 'broken')).toMatchObject({ problem: '$.version: not a number' });
  expect(new StateStore(join(root, 'nowhere')).list()).toEqual([]);
});

test('removal takes the directory and follows no link', () => {
  store.write(RECORD);
  const outside = join(root, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'kept'), '');
  symlinkSync(outside, join(store.directory('default', 'one'), 'link'));
  store.remove('default', 'one');
  store.remove('default', 'one');
  expect(store.find('default', 'one')).toBeUndefined();
  expect(readdirSync(outside)).toEqual(['kept']);
});

test('a process is known by its number and its start', () => {
  const self = findProcess(process.pid);
  expect(self).toBeDefined();
  if (self === undefined) return;
  expect(isAlive(self)).toBe(true);
  expect(isAlive({ ...self, startTicks: self.startTicks + 1 })).toBe(false);
  expect(findProcess(2 ** 22 + 5)).toBeUndefined();
});
