/**
 * Mounts of the keeper against hosts and guests that play tricks: names that change between look and bind, things that
 * are no files, mounts that come later, layers that do not fit a page. What the keeper sees is read below /proc/PID/root.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { type Keeper, startKeeper } from '../../runtime/helper-client/keeper.ts';
import { buildHelper, type HelperBuild } from '../helpers/native.ts';

/** Swaps two names without an instant at which one is missing, for a second. */
const SWAPPER = `
import ctypes, sys, time
libc = ctypes.CDLL(None)
AT_FDCWD, RENAME_EXCHANGE = -100, 2
print("swapping", flush=True)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    libc.renameat2(AT_FDCWD, sys.argv[1].encode(), AT_FDCWD, sys.argv[2].encode(), RENAME_EXCHANGE)
`;

let build: HelperBuild;
let keeper: Keeper;
let directory: string;
let count = 0;

beforeAll(async () => {
  build = await buildHelper();
});

beforeEach(async () => {
  keeper = await startKeeper({ helper: build.helper, runRoot: build.runRoot, inherited: [], onLog: () => {} });
  directory = join(build.directory, `t${count++}`);
  mkdirSync(join(directory, 'target'), { recursive: true });
});

afterEach(() => keeper.close());
afterAll(() => build.remove());

/** A path as the keeper sees it. */
const seen = (...names: string[]): string => join(`/proc/${keeper.pid}/root`, directory, ...names);

async function refusal(work: Promise<unknown>): Promise<TskataError> {
  return TskataError.from(
    await work.then(
      () => new Error('it was not refused'),
      (error: unknown) => error,
    ),
  );
}

function bind(source: string, options: readonly string[] = ['rbind', 'rprivate'], expected?: string) {
  const target = join(directory, 'target');
  if (expected === undefined) return keeper.call.mount({ type: 'bind', source, target, options });
  const { dev: device, ino: inode } = statSync(expected, { bigint: true });
  return keeper.call.mount({ type: 'bind', source, target, options, device, inode });
}

function layer(name: string, files: Record<string, string>): string {
  const path = join(directory, name);
  mkdirSync(path, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
  return path;
}

test("an overlay is the keeper's alone, and its whiteouts and copies are in the upper layer", async () => {
  const [one, two] = [layer('one', { a: '1', both: '1' }), layer('two', { b: '2', both: '2' })];
  const [upper, work] = [layer('upper', {}), layer('work', {})];
  const target = join(directory, 'target');
  const options = [`lowerdir=${two}:${one}`, `upperdir=${upper}`, `workdir=${work}`, 'index=off', 'nodev'];
  await keeper.call.mount({ type: 'overlay', source: 'overlay', target, options });
  expect(readdirSync(seen('target')).sort()).toEqual(['a', 'b', 'both']);
  expect(readFileSync(seen('target/both'), 'utf8')).toBe('2');
  rmSync(seen('target/a'));
  writeFileSync(seen('target/b'), 'changed');
  expect(lstatSync(join(upper, 'a')).isCharacterDevice()).toBe(true);
  expect(readFileSync(join(upper, 'b'), 'utf8')).toBe('changed');
  expect(readFileSync(join(two, 'b'), 'utf8')).toBe('2');
  expect(readdirSync(target)).toEqual([]);
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(target);
  await keeper.call.unmount({ target });
  expect(readdirSync(seen('target'))).toEqual([]);
});

test('hard links of a lower layer stay links when one of their names is written to', async () => {
  const lower = layer('lower', { one: 'text' });
  linkSync(join(lower, 'one'), join(lower, 'two'));
  const target = join(directory, 'target');
  const options = [`lowerdir=${lower}`, `upperdir=${layer('upper', {})}`, `workdir=${layer('work', {})}`, 'index=off'];
  await keeper.call.mount({ type: 'overlay', source: 'overlay', target, options });
  appendFileSync(seen('target/two'), ' and more');
  expect(readFileSync(seen('target/one'), 'utf8')).toBe('text and more');
  expect(statSync(seen('target/one')).ino).toBe(statSync(seen('target/two')).ino);
  expect(readFileSync(join(lower, 'one'), 'utf8')).toBe('text');
  // While it is mounted its upper layer can have no second index, and is mounted as it was asked for.
  const other = layer('other', {});
  await keeper.call.mount({ type: 'overlay', source: 'overlay', target: other, options });
  expect(readFileSync(seen('other/two'), 'utf8')).toBe('text and more');
});

test('layers whose paths do not fit into a page are mounted by short names', async () => {
  const deep = `snapshots/${'x'.repeat(60)}`;
  const lowers = Array.from({ length: 120 }, (_, index) => layer(`${deep}/${index}/fs`, { [`file${index}`]: '' }));
  const target = join(directory, 'target');
  const options = [`lowerdir=${lowers.join(':')}`, `upperdir=${layer('upper', {})}`, `workdir=${layer('work', {})}`];
  expect(options.join(',').length).toBeGreaterThan(4096);
  await keeper.call.mount({ type: 'overlay', source: 'overlay', target, options });
  expect(readdirSync(seen('target'))).toHaveLength(120);
  expect(readFileSync(`/proc/${keeper.pid}/mountinfo`, 'utf8')).toContain(` ${target} `);
});

test('owners of a bind are mapped both ways, for it alone or for what is below', async () => {
  const source = layer('owned', { file: '' });
  const below = layer('owned/below', {});
  execFileSync('mount', ['-t', 'tmpfs', 'none', below]);
  try {
    writeFileSync(join(below, 'deep'), '');
    const target = join(directory, 'target');
    const mappings = [{ containerId: 0, hostId: 100_000, size: 1000 }];
    const mount = (recursive: boolean) => {
      const idMap = {
        recursive,
        uidMappings: mappings,
        gidMappings: [{ containerId: 0, hostId: 200_000, size: 1000 }],
      };
      return keeper.call.mount({ type: 'bind', source, target, options: ['rbind', 'rprivate'], idMap });
    };
    await mount(false);
    expect(statSync(seen('target/file'))).toMatchObject({ uid: 100_000, gid: 200_000 });
    expect(statSync(seen('target/below/deep'))).toMatchObject({ uid: 0, gid: 0 });
    chownSync(seen('target/file'), 100_007, 200_008);
    expect(statSync(join(source, 'file'))).toMatchObject({ uid: 7, gid: 8 });
    // What is not in the mapping belongs to nobody, and nobody else can own what is made.
    expect(() => writeFileSync(seen('target/new'), '')).toThrow('EOVERFLOW');
    chownSync(join(source, 'file'), 5000, 5000);
    expect(statSync(seen('target/file'))).toMatchObject({ uid: 65_534, gid: 65_534 });
    await keeper.call.unmount({ target });
    await mount(true);
    expect(statSync(seen('target/below/deep'))).toMatchObject({ uid: 100_000, gid: 200_000 });
    expect(readdirSync(`/proc/${keeper.pid}/task/${keeper.pid}/`)).toContain('children');
    expect(readFileSync(`/proc/${keeper.pid}/task/${keeper.pid}/children`, 'utf8')).toBe('');
  } finally {
    execFileSync('umount', [below]);
  }
});

test('a file system that cannot map owners is named', async () => {
  const idMap = {
    recursive: false,
    uidMappings: [{ containerId: 0, hostId: 1, size: 1 }],
    gidMappings: [{ containerId: 0, hostId: 1, size: 1 }],
  };
  const target = join(directory, 'target');
  const work = keeper.call.mount({ type: 'bind', source: '/proc/fs', target, options: ['bind'], idMap });
  expect((await refusal(work)).message).toContain('bind /proc/fs with mapped ids: its file system cannot map owners');
  expect(readdirSync(seen('target'))).toEqual([]);
});

test('file systems other than overlay are not mounted', async () => {
  for (const type of ['tmpfs', 'proc', 'ext4', '']) {
    const request = { type, source: '/dev/vda', target: join(directory, 'target'), options: [] };
    expect((await refusal(keeper.call.mount(request))).message).toContain('is not allowed here');
  }
});

test('what is bound is what was looked at, while its name is swapped with a link to /etc', {
  timeout: 30_000,
}, async () => {
  const good = layer('good', { mine: '' });
  const [name, other] = [join(directory, 'name'), join(directory, 'other')];
  symlinkSync(good, name);
  symlinkSync('/etc', other);
  const swapper = spawn('python3', ['-c', SWAPPER, name, other], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(swapper, 'exit');
  await once(swapper.stdout, 'data');
  const results = { bound: 0, refused: 0 };
  while (swapper.exitCode === null) {
    const error = await bind(name, ['rbind'], good).then(
      () => undefined,
      (caught: unknown) => TskataError.from(caught),
    );
    if (error === undefined) {
      expect(readdirSync(seen('target'))).toEqual(['mine']);
      await keeper.call.unmount({ target: join(directory, 'target') });
      results.bound += 1;
    } else {
      expect(error).toMatchObject({ code: Code.Aborted, message: expect.stringContaining('it was replaced') });
      results.refused += 1;
    }
  }
  await ended;
  expect(results.bound).toBeGreaterThan(0);
  expect(results.refused).toBeGreaterThan(0);
});

test('sockets, FIFOs and devices are refused by what was opened, not by their name', async () => {
  execFileSync(build.helper, ['fifo', join(directory, 'fifo')]);
  writeFileSync(join(directory, 'file'), '');
  for (const source of [join(directory, 'fifo'), '/dev/null', '/dev/vda']) {
    if (!existsSync(source)) continue;
    const target = join(directory, 'file');
    const error = await refusal(keeper.call.mount({ type: 'bind', source, target, options: ['bind'] }));
    expect(error.message).toContain(`bind ${source}: neither a directory nor a regular file`);
  }
  expect((await refusal(bind(join(directory, 'file')))).message).toMatch(/ENOTDIR|EINVAL/);
});

test("a volume that was mounted after the keeper's start is bound, also where mounts do not spread", async () => {
  const volume = layer('volume', { below: '' });
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', volume]);
  try {
    writeFileSync(join(volume, 'mounted'), '');
    await bind(volume, ['rbind', 'rprivate'], volume);
    expect(readdirSync(seen('target'))).toEqual(['mounted']);
  } finally {
    execFileSync('umount', [volume]);
  }
});

test('later mounts of the host show up below a following bind, and below no other', async () => {
  const volume = layer('volume', {});
  const plain = join(directory, 'plain');
  mkdirSync(plain);
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', volume]);
  try {
    execFileSync('mount', ['--make-shared', volume]);
    mkdirSync(join(volume, 'inner'));
    await bind(volume, ['rbind', 'rslave']);
    await keeper.call.mount({ type: 'bind', source: volume, target: plain, options: ['rbind', 'rprivate'] });
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', join(volume, 'inner')]);
    writeFileSync(join(volume, 'inner/late'), '');
    expect(readdirSync(seen('target/inner'))).toEqual(['late']);
    expect(readdirSync(seen('plain/inner'))).toEqual([]);
    // And what the keeper unmounts stays with the host.
    await keeper.call.unmount({ target: join(directory, 'target') });
    expect(readdirSync(join(volume, 'inner'))).toEqual(['late']);
  } finally {
    execFileSync('umount', ['-R', volume]);
  }
});
