/** Looking at host paths: what they are, and what one costs whose file system stands still. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Code } from '../../../../agent/protocol/errors.ts';
import { type HostSource, inspectSources } from '../../../../runtime/storage/host-source.ts';
import { mountUnserved } from '../../../helpers/unserved-mount.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tskata-source-'));
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function look(path: string): Promise<HostSource> {
  const found = (await inspectSources([{ path, where: 'here', optional: false }])).get(path);
  if (found === undefined) throw new Error(`nothing at ${path}`);
  return found;
}

test('sources are seen as they are, missing ones named with their place', async () => {
  writeFileSync(join(directory, 'file'), '');
  symlinkSync('file', join(directory, 'link'));
  expect(await look(join(directory, 'link'))).toMatchObject({ kind: 'file', path: join(directory, 'file') });
  expect((await look('/dev/null')).kind).toBe('device');
  expect((await look('/proc')).mount).toMatchObject({ point: '/proc', type: 'proc', root: '/' });
  const none = { path: join(directory, 'none/x'), where: 'mounts[4].source' };
  await expect(inspectSources([{ ...none, optional: false }])).rejects.toThrow(
    `mounts[4].source: share ${none.path} with the guest - there is no such file or directory - create it first`,
  );
  expect((await inspectSources([{ ...none, optional: true }])).size).toBe(0);
  await expect(inspectSources([{ path: join(directory, 'file/x'), where: 'x', optional: false }])).rejects.toThrow(
    'ENOTDIR',
  );
});

test('one whose file system does not answer is given up, and nobody else waits for it', async () => {
  const path = join(directory, 'unserved');
  mkdirSync(path);
  const mount = await mountUnserved(path);
  try {
    const looking = inspectSources([{ path, where: 'mounts[4].source', optional: true }], 300);
    const refused = expect(looking).rejects.toMatchObject({
      code: Code.DeadlineExceeded,
      message: expect.stringContaining(
        `mounts[4].source: share ${path} with the guest - its file system has not answered`,
      ),
    });
    const began = performance.now();
    await look('/proc');
    expect(performance.now() - began).toBeLessThan(250);
    await refused;
  } finally {
    await mount.end();
  }
});
