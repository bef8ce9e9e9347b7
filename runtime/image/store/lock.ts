/**
 * Owns locks between processes: a file that exists exactly while its owner holds the lock, and that a dead owner loses.
 * Locks only save double work and order removal against use; that no half file is ever seen is `files.ts`' doing.
 */
import { randomBytes } from 'node:crypto';
import { watch } from 'node:fs';
import { link, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import { findProcess, isAlive } from '../../state/process-ref.ts';

/** The death of a lock's owner makes no event in the directory, so a waiter looks again this often. */
const RECHECK_MS = 500;

/** Name of this very process, which no later one with the same number has. */
export function processTag(): string {
  const self = findProcess(process.pid);
  return `${process.pid}-${self?.startTicks ?? 0}`;
}

/** Whether the process with this tag still exists. */
export function isTagAlive(tag: string): boolean {
  const [pid, startTicks] = tag.split('-').map(Number);
  return pid !== undefined && startTicks !== undefined && isAlive({ pid, startTicks });
}

/** Runs `work` while no other process (and no other caller in this one) holds the lock `name` in `directory`. */
export async function withLock<T>(
  directory: string,
  name: string,
  deadlineMs: number,
  work: () => Promise<T>,
): Promise<T> {
  const path = join(directory, `${name}.lock`);
  const endsAt = performance.now() + deadlineMs;
  const release = await acquire(path, directory, async (owner) => {
    if (performance.now() > endsAt) {
      throw new TskataError(
        Code.DeadlineExceeded,
        `wait for lock ${path} - process ${owner?.split('-')[0]} has held it for ${deadlineMs / 1000} s - see what it does`,
      );
    }
    await nextChange(directory);
    return true;
  });
  try {
    return await work();
  } finally {
    await release?.();
  }
}

/**
 * Takes the lock `name` at once: its release, or the number of the process that has it. For claims that nobody waits
 * for. Makes the directory.
 */
export async function tryLock(directory: string, name: string): Promise<(() => Promise<void>) | number> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, `${name}.lock`);
  let holder = 0;
  const release = await acquire(path, directory, (owner) => {
    holder = Number(owner?.split('-')[0] ?? 0);
    // Given back in this moment: once more.
    return Promise.resolve(owner === undefined);
  });
  return release ?? holder;
}

/** Whether a living process has the lock `name`. */
export async function isLocked(directory: string, name: string): Promise<boolean> {
  const owner = await readOwner(join(directory, `${name}.lock`));
  return owner !== undefined && isTagAlive(owner);
}

/** Removes locks whose owners are dead; returns their names. */
export async function removeDeadLocks(directory: string): Promise<string[]> {
  const removed: string[] = [];
  for (const file of await readdir(directory).catch(() => [])) {
    const path = join(directory, file);
    const owner = file.endsWith('.lock') ? await readOwner(path) : undefined;
    if (owner === undefined || isTagAlive(owner)) continue;
    await takeAway(path, owner, newTag());
    removed.push(file.slice(0, -'.lock'.length));
  }
  return removed;
}

function newTag(): string {
  return `${processTag()}-${randomBytes(6).toString('hex')}`;
}

/** Undefined once `patience`, asked while another has the lock, gives up. */
async function acquire(
  path: string,
  directory: string,
  patience: (owner: string | undefined) => Promise<boolean>,
): Promise<(() => Promise<void>) | undefined> {
  const mine = newTag();
  const claim = join(directory, `.claim-${mine}`);
  await writeFile(claim, mine, { flag: 'wx', mode: 0o600 });
  try {
    while (!(await tryLink(claim, path))) {
      const owner = await readOwner(path);
      if (owner !== undefined && !isTagAlive(owner)) await takeAway(path, owner, mine);
      else if (!(await patience(owner))) return undefined;
    }
  } finally {
    await rm(claim, { force: true });
  }
  return async () => {
    if ((await readOwner(path)) === mine) await rm(path, { force: true });
  };
}

/** link(2) makes the lock with its content in one step, or not at all. */
async function tryLink(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function readOwner(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** Takes a dead owner's lock out of the way; puts back what turns out to be another's. */
async function takeAway(path: string, owner: string, mine: string): Promise<void> {
  const aside = `${path}.dead-${mine}`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  if ((await readOwner(aside)) !== owner) await tryLink(aside, path);
  await rm(aside, { force: true });
}

function nextChange(directory: string): Promise<void> {
  return new Promise((resolve) => {
    const watcher = watch(directory);
    const done = (): void => {
      clearTimeout(timer);
      watcher.close();
      resolve();
    };
    const timer = setTimeout(done, RECHECK_MS);
    watcher.on('change', done);
    watcher.on('error', done);
  });
}

/** Says that this process uses files of the store that no record names yet; removal waits with them. */
export async function takeLease(directory: string): Promise<() => Promise<void>> {
  const path = join(directory, `${processTag()}-${randomBytes(6).toString('hex')}.lease`);
  await writeFile(path, '', { flag: 'wx', mode: 0o600 });
  return () => rm(path, { force: true });
}

/** Whether any living process has a lease; leases of dead ones are removed. */
export async function hasLeases(directory: string): Promise<boolean> {
  let found = false;
  for (const name of await readdir(directory)) {
    if (!name.endsWith('.lease')) continue;
    if (isTagAlive(tagOf(name))) found = true;
    else await rm(join(directory, name), { force: true });
  }
  return found;
}

/** The tag that a name begins with. */
export function tagOf(name: string): string {
  return name.split('-').slice(0, 2).join('-');
}
