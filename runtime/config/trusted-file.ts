/**
 * Reads a file that only the administrator can have written: owned by root (or by whoever runs us), writable by nobody
 * else, and so is every directory above it. Refuses to know what is in it.
 */
import { constants, type Stats } from 'node:fs';
import { lstat, open, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';

const MAX_BYTES = 1 << 20;
const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;

/** Undefined when there is no such file. @throws TskataError naming the file or directory and what to do about it. */
export async function readTrustedFile(path: string): Promise<string | undefined> {
  const real = await realpath(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw new TskataError(Code.FailedPrecondition, `read ${path}: ${error.message}`);
  });
  if (real === undefined) return undefined;
  await checkParents(path, dirname(real));
  // O_NONBLOCK: a FIFO of this name must not hold us up.
  const file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: Error) => {
      throw new TskataError(Code.FailedPrecondition, `read ${path}: ${error.message}`);
    },
  );
  try {
    const status = await file.stat();
    if (!status.isFile()) throw refused(path, 'it is not a regular file');
    checkOwner(path, path, status);
    if (status.size > MAX_BYTES) throw refused(path, `it has more than ${MAX_BYTES} bytes`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

/** Every directory from here up to the root: whoever can rename one of them can put another file in its place. */
export async function checkParents(path: string, directory: string): Promise<void> {
  for (let current = directory; ; current = dirname(current)) {
    const status = await lstat(current);
    // In a sticky directory (/tmp) others can add files, but not replace those of root.
    const sticky = (status.mode & STICKY) !== 0 && status.uid === 0;
    if (!sticky) checkOwner(path, current, status);
    if (current === dirname(current)) return;
  }
}

function checkOwner(path: string, subject: string, status: Stats): void {
  const own = process.geteuid?.() ?? 0;
  if (status.uid !== 0 && status.uid !== own) {
    throw refused(path, `${subject} belongs to user ${status.uid}, not to root - chown root ${subject}`);
  }
  if ((status.mode & WRITABLE_BY_OTHERS) !== 0) {
    const mode = (status.mode & 0o7777).toString(8);
    throw refused(path, `${subject} can be written by others than its owner (mode ${mode}) - chmod go-w ${subject}`);
  }
}

function refused(path: string, why: string): TskataError {
  return new TskataError(Code.FailedPrecondition, `read ${path}: ${why}`);
}
