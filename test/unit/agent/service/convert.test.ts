import { describe, expect, test } from 'vitest';
import { ContainerSpec, Process } from '../../../../agent/protocol/generated/agent.ts';
import type { Init } from '../../../../agent/protocol/message.ts';
import { checkId, checkRelative, checkStorageId, quoted } from '../../../../agent/service/check.ts';
import { convertProcess, convertSpec } from '../../../../agent/service/convert.ts';

const find = (_field: string, id: string) => ({
  path: `/s/${id}`,
  subpath: id === 'part' ? 'in' : '',
  readOnly: id === 'ro',
});
const spec = (change: Init<ContainerSpec>) =>
  convertSpec(ContainerSpec.create({ process: { args: ['x'] }, ...change }), find);
const process = (change: Init<Process>) => convertProcess('p', Process.create({ args: ['x'], ...change }));

describe('ids and paths', () => {
  test('have a form', () => {
    expect(checkId('id', 'a.B_c-1')).toBe('a.B_c-1');
    for (const id of ['', '.', '..', '-a', 'a/b', 'a b', 'ä', 'x'.repeat(129), 'a\n'])
      expect(() => checkId('id', id)).toThrow('id: ');
    expect(() => checkStorageId('id', 'a.b')).toThrow();
    expect(checkRelative('p', 'a/b')).toBe('a/b');
    for (const path of ['/a', '..', 'a/../b', 'a\0']) expect(() => checkRelative('p', path)).toThrow('p: ');
    expect(quoted('x'.repeat(100))).toHaveLength(69);
  });
});

describe('a process', () => {
  test('is checked field by field', () => {
    expect(process({ umask: 0o7777, oomScoreAdj: -5 } as Init<Process>).oomScoreAdj).toBe(-5);
    expect(process({ cwd: '' }).cwd).toBe('/');
    expect(() => process({ args: [] })).toThrow('p.args: is empty');
    expect(() => process({ args: [''] })).toThrow('p.args[0]');
    expect(() => process({ env: ['A=\0'] })).toThrow('p.env: contains a NUL');
    expect(() => process({ cwd: 'relative' })).toThrow('p.cwd');
    expect(() => process({ oomScoreAdj: 1001 })).toThrow('p.oom_score_adj');
    expect(() => process({ rlimits: [{ type: 'RLIMIT_X', soft: 1n, hard: 1n }] })).toThrow('p.rlimits');
    expect(() => convertProcess('p', undefined)).toThrow('p: is missing');
  });
});

describe('a container', () => {
  test('has mounts of storages and of file systems, never of paths', () => {
    const mounts = [
      { destination: '/a', type: 'bind', storageId: 'ro', storagePath: 'x', options: ['rw'] },
      { destination: '/b', type: 'bind', storageId: 'part', storagePath: 'y', isFile: true },
    ];
    expect(spec({ mounts }).mounts).toMatchObject([
      { storagePath: '/s/ro', subpath: 'x', options: ['rw', 'ro'] },
      { storagePath: '/s/part', subpath: 'in/y', isFile: true },
    ]);
    expect(() => spec({ mounts: [{ destination: '/a', type: 'bind', source: '/etc' }] })).toThrow(
      'spec.mounts[0].storage_id',
    );
    expect(() => spec({ mounts: [{ destination: '/a', type: 'none', options: ['rbind'] }] })).toThrow('storage_id');
    expect(() => spec({ mounts: [{ destination: '/a', type: 'ext4', source: '/dev/vda' }] })).toThrow(
      'spec.mounts[0].type',
    );
    expect(() => spec({ mounts: [{ destination: 'a', type: 'tmpfs' }] })).toThrow('spec.mounts[0].destination');
    expect(() => spec({ mounts: [{ destination: '/a', type: 'bind', storageId: 'x', storagePath: '../y' }] })).toThrow(
      'storage_path',
    );
  });

  test('is refused with what it cannot have', () => {
    expect(() => convertSpec(undefined, find)).toThrow('spec: is missing');
    expect(() => spec({ namespaces: ['net'] })).toThrow('spec.namespaces');
    expect(() => spec({ namespaces: ['user'] })).toThrow('spec.uid_mappings');
    expect(() => spec({ sysctls: new Map([['vm.x', '1']]) })).toThrow('spec.sysctls');
    expect(() => spec({ rootfsPropagation: 'both' })).toThrow('spec.rootfs_propagation');
    expect(() => spec({ maskedPaths: ['relative'] })).toThrow('spec.masked_paths');
    expect(() => spec({ devices: [{ type: 'x', path: '/dev/x' }] })).toThrow('spec.devices[0].type');
    expect(() => spec({ devices: [{ type: 'c', path: '/dev/x/' }] })).toThrow('spec.devices[0].path');
    expect(() => spec({ devices: [{ type: 'c', path: '/dev/x', major: 5000n }] })).toThrow('spec.devices[0].major');
    expect(spec({ devices: [{ type: 'u', path: '/dev/x', major: 1n, minor: 3n }] }).devices).toMatchObject([
      { type: 'c', mode: 0o666 },
    ]);
  });
});
