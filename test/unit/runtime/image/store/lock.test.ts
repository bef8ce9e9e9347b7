import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  hasLeases,
  isLocked,
  removeDeadLocks,
  takeLease,
  tryLock,
  withLock,
} from '../../../../../runtime/image/store/lock.ts';

const DEADLINE_MS = 10_000;
const MODULE = new URL('../../../../../runtime/image/store/lock.ts', import.meta.url).href;

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tskata-lock-'));
});

afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

/** A process that takes the lock and says so, then sleeps. */
async function holder(): Promise<ReturnType<typeof spawn>> {
  const script = `import { withLock } from ${JSON.stringify(MODULE)};
    await withLock(process.argv[1], 'x', 5000, async () => { process.stdout.write('held'); await new Promise((r) => setTimeout(r, 60000)); });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  return child;
}

describe('locks', () => {
  it('let one in after the other, and vanish', async () => {
    let inside = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      most = Math.max(most, ++inside);
      await new Promise(setImmediate);
      inside--;
    };
    await Promise.all(Array.from({ length: 20 }, () => withLock(directory, 'x', DEADLINE_MS, work)));
    expect(most).toBe(1);
    expect(await readdir(directory)).toEqual([]);
  });

  it('are free after a failure', async () => {
    const failing = withLock(directory, 'x', DEADLINE_MS, () => Promise.reject(new Error('no')));
    await expect(failing).rejects.toThrow('no');
    expect(await withLock(directory, 'x', DEADLINE_MS, async () => 'in')).toBe('in');
  });

  it('of a killed process are taken over', async () => {
    const child = await holder();
    expect(await readdir(directory)).toEqual(['x.lock']);
    const waiting = withLock(directory, 'x', DEADLINE_MS, async () => 'in');
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(await waiting).toBe('in');
    expect(await readdir(directory)).toEqual([]);
  });

  it('that are held too long are told with their holder', async () => {
    const child = await holder();
    try {
      await expect(withLock(directory, 'x', 50, async () => {})).rejects.toThrow(`process ${child.pid} has held it`);
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });
});

describe('claims', () => {
  it('go to one of many, and name its process to the others', async () => {
    const claims = join(directory, 'made');
    const all = await Promise.all(Array.from({ length: 20 }, () => tryLock(claims, 'x')));
    const [release, ...more] = all.filter((claim) => typeof claim !== 'number');
    expect(more).toEqual([]);
    expect(new Set(all.filter((claim) => typeof claim === 'number'))).toEqual(new Set([process.pid]));
    await release?.();
    expect(await readdir(claims)).toEqual([]);
    expect(typeof (await tryLock(claims, 'x'))).toBe('function');
  });

  it('of a killed process are free, and are forgotten on demand', async () => {
    for (const use of [() => tryLock(directory, 'x'), () => removeDeadLocks(directory)]) {
      const child = await holder();
      expect(await tryLock(directory, 'x')).toBe(child.pid);
      expect(await isLocked(directory, 'x')).toBe(true);
      expect(await removeDeadLocks(directory)).toEqual([]);
      child.kill('SIGKILL');
      await once(child, 'exit');
      expect(await isLocked(directory, 'x')).toBe(false);
      const result = await use();
      if (typeof result === 'function') await result();
      else expect(result).toEqual(['x']);
      expect(await readdir(directory)).toEqual([]);
    }
  });
});

describe('leases', () => {
  it('count while their process lives', async () => {
    const release = await takeLease(directory);
    expect(await hasLeases(directory)).toBe(true);
    await release();
    expect(await hasLeases(directory)).toBe(false);
  });

  it('of dead processes are removed', async () => {
    await writeFile(join(directory, '4194000-1-abc.lease'), '');
    expect(await hasLeases(directory)).toBe(false);
    expect(await readdir(directory)).toEqual([]);
  });
});
