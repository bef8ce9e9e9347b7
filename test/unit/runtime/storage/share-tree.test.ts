import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type HostSource, inspectSources } from '../../../../runtime/storage/host-source.ts';
import type { MountIdMap } from '../../../../runtime/storage/id-map.ts';
import type { ShareRequest } from '../../../../runtime/storage/plan.ts';
import { type HostMounts, ShareTree } from '../../../../runtime/storage/share-tree.ts';

let directory: string;
let calls: string[];
let mounts: HostMounts;
let tree: ShareTree;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tskata-share-'));
  calls = [];
  mounts = {
    mount: ({ type, source, target, options }) => {
      calls.push(`${type} ${source} ${target.slice(directory.length)} ${options.join(',')}`);
      return Promise.resolve();
    },
    unmount: (target) => {
      calls.push(`unmount ${target.slice(directory.length)}`);
      return Promise.resolve();
    },
  };
  tree = new ShareTree(join(directory, 'share'), mounts);
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function look(path: string): Promise<HostSource> {
  const found = (await inspectSources([{ path, where: 'here', optional: false }])).get(path);
  if (found === undefined) throw new Error(`nothing at ${path}`);
  return found;
}

const bind = async (
  source: string,
  more: { readOnly?: boolean; recursive?: boolean; followsHost?: boolean; idMap?: MountIdMap } = {},
) =>
  ({
    kind: 'bind',
    source,
    found: await look(source),
    readOnly: false,
    recursive: true,
    followsHost: false,
    ...more,
  }) as const;

test('directories, files and overlays are shown under names of the tree', async () => {
  const file = join(directory, 'file');
  writeFileSync(file, 'text');
  symlinkSync(file, join(directory, 'link'));
  const first = await bind(directory, { readOnly: true }).then((request) => tree.add(request));
  const second = await bind(join(directory, 'link'), { recursive: false, followsHost: true }).then((request) =>
    tree.add(request),
  );
  const third = await tree.add({ kind: 'overlay', options: ['lowerdir=/a:/b'], readOnly: true });
  expect([first, second, third]).toEqual([
    { directory: '1', leaf: 'd' },
    { directory: '2', leaf: 'f' },
    { directory: '3', leaf: 'd' },
  ]);
  expect(calls).toEqual([
    `bind ${directory}/share /share bind,ro,nosuid,nodev`,
    `bind ${directory} /share/1/d rbind,rprivate,ro,nodev`,
    `bind ${directory}/link /share/2/f bind,rslave,nodev`,
    'overlay overlay /share/3/d lowerdir=/a:/b,nodev',
  ]);
  expect(await Promise.all([first, second, third].map((entry) => tree.remove(entry)))).toEqual(['1', '2', '3']);
  expect(readdirSync(join(directory, 'share'))).toEqual([]);
  expect(readFileSync(file, 'utf8')).toBe('text');
});

test('who asks for the same gets the same entry, until the last has given it back', async () => {
  const source = join(directory, 'volume');
  mkdirSync(source);
  const [one, two] = await Promise.all([
    bind(source).then((request) => tree.add(request)),
    bind(source).then((request) => tree.add(request)),
  ]);
  expect(two).toEqual(one);
  expect((await bind(source, { readOnly: true }).then((request) => tree.add(request))).directory).not.toBe(
    one.directory,
  );
  const ranges = (hostId: number) => [{ containerId: 0, hostId, size: 1 }];
  const mapped = (hostId: number) =>
    bind(source, { idMap: { recursive: false, uidMappings: ranges(hostId), gidMappings: ranges(1) } }).then((request) =>
      tree.add(request),
    );
  const owners = [one, await mapped(1), await mapped(2)].map((entry) => entry.directory);
  expect(new Set(owners).size).toBe(3);
  expect((await mapped(2)).directory).toBe(owners[2]);
  const overlay: ShareRequest = { kind: 'overlay', options: ['lowerdir=/a:/b'], readOnly: false };
  expect((await tree.add(overlay)).directory).not.toBe((await tree.add(overlay)).directory);
  expect(await tree.remove(one)).toBeUndefined();
  expect(calls.filter((call) => call.startsWith('unmount'))).toEqual([]);
  expect(await tree.remove(one)).toBe(one.directory);
  expect(await tree.remove(one)).toBeUndefined();
  expect(calls.filter((call) => call.startsWith('unmount'))).toEqual([`unmount /share/${one.directory}/d`]);
  // Another directory of the same name is another source.
  const again = await bind(source).then((request) => tree.add(request));
  rmSync(source, { recursive: true });
  mkdirSync(join(directory, 'keep-the-inode'));
  mkdirSync(source);
  expect((await bind(source).then((request) => tree.add(request))).directory).not.toBe(again.directory);
});

test('a failed mount leaves nothing and is tried anew; removal never takes what is not ours', async () => {
  const { mount } = mounts;
  await tree.prepare();
  mounts.mount = () => Promise.reject(new Error('EPERM'));
  await expect(bind(directory).then((request) => tree.add(request))).rejects.toThrow('EPERM');
  expect(readdirSync(join(directory, 'share'))).toEqual([]);
  mounts.mount = mount;
  const entry = await bind(directory).then((request) => tree.add(request));
  // As if the bind were visible here: a full directory.
  const target = join(directory, 'share', entry.directory, 'd');
  mkdirSync(join(target, 'precious'));
  await tree.remove(entry);
  expect(existsSync(join(target, 'precious'))).toBe(true);
});
