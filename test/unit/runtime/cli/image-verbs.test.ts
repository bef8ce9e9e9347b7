/** The image verbs as a person calls them: what they print, and what they refuse. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { makeContext } from '../../../../runtime/cli/context.ts';
import { register as images } from '../../../../runtime/cli/images.ts';
import { register as load } from '../../../../runtime/cli/load.ts';
import { pullProgress } from '../../../../runtime/cli/progress.ts';
import { register as pull } from '../../../../runtime/cli/pull.ts';
import { register as rmi } from '../../../../runtime/cli/rmi.ts';
import { tarOf } from '../../../helpers/layer-tar.ts';
import { writeLayout } from '../../../helpers/oci-layout.ts';

let directory: string;
let printed: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tskata-verbs-'));
  printed = '';
  const collect = (chunk: string | Uint8Array): boolean => {
    printed += chunk.toString();
    return true;
  };
  vi.spyOn(process.stdout, 'write').mockImplementation(collect);
  vi.spyOn(process.stderr, 'write').mockImplementation(collect);
});

afterEach(async () => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
  await rm(directory, { recursive: true, force: true });
});

/** Runs one command line and returns what it printed. */
async function tskata(...words: string[]): Promise<string> {
  printed = '';
  const program = new Command('tskata').exitOverride();
  const context = makeContext({ root: join(directory, 'lib'), runRoot: join(directory, 'run'), namespace: 'default' });
  for (const register of [images, load, pull, rmi]) register(program, () => context);
  await program.parseAsync(words, { from: 'user' });
  return printed;
}

describe('image verbs', () => {
  it('load, list and remove', async () => {
    const layout = await writeLayout(join(directory, 'app'), [{ tar: tarOf([{ name: 'f', data: 'x' }]) }], {
      tag: 'v1',
    });
    expect(await tskata('load', '--name', 'team/app:v1', layout.directory)).toMatch(
      /\nteam\/app:v1 sha256:[0-9a-f]{64}\n$/,
    );
    expect(await tskata('images')).toMatch(/^NAME +ID +LAYERS +CREATED +SIZE\nteam\/app:v1 +[0-9a-f]{12} +1 /);
    const [row] = JSON.parse(await tskata('images', '--json')) as { name: string; id: string }[];
    expect(row?.name).toBe('docker.io/team/app:v1');
    expect(await tskata('images', '-q')).toBe(`${row?.id}\n`);
    expect(await tskata('pull', '-q', `oci:${layout.directory}:v1`)).toBe(`${row?.id}\n`);
    expect(await tskata('rmi', 'localhost/app:v1', 'nobody', 'team/app:v1')).toMatch(
      /untagged localhost\/app:v1\ntskata: remove image nobody .*no such image.*\nuntagged team\/app:v1\ndeleted sha256:/,
    );
    expect(process.exitCode).toBe(1);
    expect(await tskata('images', '-q')).toBe('');
  });

  it('refuse what cannot be', async () => {
    await expect(tskata('load')).rejects.toThrow(/either an archive or --builtin/);
    await expect(tskata('load', '--builtin', 'busybox', 'x.tar')).rejects.toThrow(/either an archive or --builtin/);
    await expect(tskata('load', '--builtin', 'alpine')).rejects.toThrow(/Allowed choices are busybox/);
    await expect(tskata('load', '--max-layer-size', 'large', 'x')).rejects.toThrow(/--max-layer-size large/);
    await expect(tskata('pull', 'a b')).rejects.toThrow(/image name 'a b'/);
    await writeFile(join(directory, 'empty'), '');
    await expect(tskata('load', join(directory, 'empty'))).rejects.toThrow(/not an archive of images/);
  });

  it('hold to the size that is allowed', async () => {
    const layout = await writeLayout(join(directory, 'big'), [
      { tar: tarOf([{ name: 'f', data: Buffer.alloc(100_000) }]) },
    ]);
    await expect(tskata('load', '--max-layer-size', '64k', layout.directory)).rejects.toThrow(
      /unpacks to more than 65536 bytes/,
    );
  });
});

describe('progress', () => {
  it('is a line per step where there is no terminal', () => {
    let text = '';
    const stream = new Writable({
      write: (chunk: Buffer, _, done) => {
        text += chunk.toString();
        done();
      },
    }) as unknown as NodeJS.WriteStream;
    const progress = pullProgress(stream);
    progress.show({ phase: 'resolve', done: 0, total: 1, what: 'app' });
    for (let done = 0; done <= 10; done++)
      progress.show({ phase: 'download', done: done * 1e6, total: 1e7, what: 'app' });
    progress.show({ phase: 'done', done: 1, total: 1, what: 'app' });
    progress.stop();
    expect(text).toBe('looking up app\ndownloading app (9.5 MiB)\nready app\n');
  });
});
