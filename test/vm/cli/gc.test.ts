/** `tskata gc`: what crashes of every part left is found and removed, and what lives or has just begun is not. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { StateStore } from '../../../runtime/state/store.ts';
import { Tskata } from '../../helpers/tskata.ts';

/** No process has this number (PID_MAX_LIMIT is below it). */
const NOBODY = 4_194_400;
const id = (digit: string): string => digit.repeat(64);

describe('gc', () => {
  let tskata: Tskata;

  beforeAll(async () => {
    tskata = await Tskata.withBusybox();
  });
  afterAll(() => tskata.dispose());

  /** A directory that was made long ago, with a file in it. */
  function old(...path: string[]): string {
    const directory = join(...path);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'file'), 'x');
    const hourAgo = Date.now() / 1000 - 3600;
    utimesSync(directory, hourAgo, hourAgo);
    return directory;
  }

  it('finds nothing on a clean machine', async () => {
    expect(await tskata.ok('gc')).toBe('');
  });

  it('removes what nobody owns any more, says each thing, and leaves the rest', async () => {
    const { runRoot, libRoot } = tskata;
    const orphans = [
      old(runRoot, 'default', id('a')),
      old(libRoot, 'containers/default', id('a')),
      old(libRoot, 'containers/default', id('b')),
    ];
    const young = join(runRoot, 'default', id('c'));
    mkdirSync(young);
    // A shim that died: its record is all that is left.
    const store = new StateStore(runRoot);
    store.write({
      version: 1,
      namespace: 'default',
      id: id('d'),
      sandbox: id('d'),
      bundle: join(runRoot, 'default', id('d'), 'bundle'),
      socket: join(runRoot, 's/dead.sock'),
      shim: { pid: NOBODY, startTicks: 1 },
      status: 'running',
      createdAt: new Date().toISOString(),
      annotations: {},
    });
    // A claim of a name, a job of the image store, a layer that no image needs, a socket that nobody serves.
    mkdirSync(join(runRoot, '.names'), { recursive: true });
    writeFileSync(join(runRoot, '.names/default@lost.lock'), `${NOBODY}-1-aa`);
    mkdirSync(join(libRoot, 'tmp', `${NOBODY}-1-aa`));
    const layer = join(libRoot, 'layers', `${id('e')}.erofs`);
    writeFileSync(layer, Buffer.alloc(2_000_000));
    mkdirSync(join(runRoot, 's'), { recursive: true });
    const dead = join(runRoot, 's/dead.sock');
    const listen = `require('net').createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, 9))`;
    await once(spawn(process.execPath, ['-e', listen], { stdio: 'ignore' }), 'exit');
    const alive = join(runRoot, 's/alive.sock');
    const server = createServer().listen(alive);

    const dry = await tskata.ok('gc', '-n');
    expect(dry.split('\n').toSorted()).toEqual(orphans.map((path) => `would remove ${path}`).toSorted());
    expect(existsSync(join(orphans[0] ?? '', 'file'))).toBe(true);

    const said = await tskata.ok('gc');
    expect(said).toContain(`container ${id('d')}: cleaned up`);
    for (const path of orphans) expect(said).toContain(`removed ${path}`);
    expect(said).toContain(`removed socket ${dead}`);
    expect(said).toContain('removed the claim of the name default@lost');
    expect(said).toContain('removed 2.0 MB of layers that no image needs');
    for (const path of [...orphans, layer, dead]) expect(existsSync(path), path).toBe(false);
    expect(readdirSync(join(libRoot, 'tmp'))).toEqual([]);
    expect(readdirSync(join(runRoot, '.names'))).toEqual([]);
    expect(existsSync(young)).toBe(true);
    expect(existsSync(alive)).toBe(true);
    expect(store.find('default', id('d'))).toMatchObject({ status: 'stopped', exit: { status: 137 } });
    expect(await tskata.ok('gc')).toBe('');
    // The image that is named has kept its layer.
    expect(readdirSync(join(libRoot, 'layers')).some((name) => name.endsWith('.erofs'))).toBe(true);

    server.close();
    await tskata.ok('rm', id('d'));
    utimesSync(young, 0, 0);
    expect(await tskata.ok('gc')).toBe(`removed ${young}`);
  });
});
