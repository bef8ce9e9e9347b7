/**
 * Owns one container's cgroup: its directory, limits, freezer, killing, counters. Control files are answered by the
 * kernel itself, so none of these calls waits for a disk or a share.
 */

import { Code, TskataError } from '../../protocol/errors.ts';
import type { Resources } from '../../protocol/generated/agent.ts';
import { close, open, readDirectory, readFile, writeFile } from '../../sys/calls.ts';
import { E } from '../../sys/errno.ts';
import { check, isErrno, SysError } from '../../sys/errors.ts';
import { AT, DT, EPOLL, O, SEEK } from '../../sys/linux.ts';
import { kill } from '../../sys/processes.ts';
import type { Loop, Sys } from '../../sys/sys.ts';
import { SYS } from '../../sys/syscalls.ts';
import { type CgroupWrite, cgroupWrites } from './resources.ts';
import { parseFlatKeyed } from './stats.ts';

/** A process in the kernel (a page fault on a dead share) freezes when it comes out. */
const FREEZE_TIMEOUT_MS = 10_000;
const EMPTY_TIMEOUT_MS = 10_000;
const MAX_DEPTH = 32;

/** A container's cgroup. */
export class Cgroup {
  readonly path: string;
  /** For CLONE_INTO_CGROUP and the device program. */
  readonly fd: number;
  private readonly sys: Sys;
  private readonly loop: Loop;
  private removed = false;

  /** Makes the directory. Throws SysError, EEXIST too: a leftover is a mistake of ours. */
  constructor(sys: Sys, loop: Loop, path: string) {
    this.sys = sys;
    this.loop = loop;
    this.path = path;
    check(sys.call(SYS.mkdirat, AT.FDCWD, path, 0o755), 'make cgroup', path);
    this.fd = open(sys, path, O.RDONLY | O.DIRECTORY);
  }

  /** Applies limits. Throws ResourcesError, or TskataError naming the file and the value that the kernel refused. */
  apply(resources: Resources): void {
    for (const write of cgroupWrites(resources)) this.write(write);
  }

  /** Text of a control file; "" when the group does not have it. */
  read(name: string): string {
    if (this.removed) return '';
    try {
      return readFile(this.sys, name, 1 << 20, this.fd);
    } catch (error) {
      if (isErrno(error, E.ENOENT, E.EOPNOTSUPP, E.ENODEV)) return '';
      throw error;
    }
  }

  /** Gives a user namespace's root what it needs to make groups of its own below. */
  delegate(uid: number, gid: number): void {
    for (const name of ['', 'cgroup.procs', 'cgroup.subtree_control', 'cgroup.threads']) {
      const flags = name === '' ? AT.EMPTY_PATH : 0;
      check(this.sys.call(SYS.fchownat, this.fd, name, uid, gid, flags), 'delegate cgroup', `${this.path}/${name}`);
    }
  }

  /** SIGKILL to everything in the group and below, forks under way included. */
  killAll(): void {
    if (!this.removed) this.writeFile('cgroup.kill', '1');
  }

  /** A signal to every process now in the group and below. */
  signalAll(signal: number): void {
    for (const pid of this.pids()) kill(this.sys, pid, signal);
  }

  /** Process ids, as the guest sees them, of the group and below. */
  pids(): number[] {
    const pids: number[] = [];
    walk(this.sys, this.path, (directory) => {
      try {
        for (const line of readFile(this.sys, `${directory}/cgroup.procs`).split('\n')) {
          if (line !== '' && line !== '0') pids.push(Number(line));
        }
      } catch (error) {
        // The group was removed meanwhile, or holds threads only.
        if (!isErrno(error, E.ENOENT, E.ENODEV, E.EOPNOTSUPP)) throw error;
      }
    });
    return pids;
  }

  /** Stops every process, and settles when all have stopped. Thaws and rejects at the deadline. */
  async freeze(): Promise<void> {
    this.writeFile('cgroup.freeze', '1');
    if (await this.waitForEvent('frozen', 1n, FREEZE_TIMEOUT_MS)) return;
    this.thaw();
    const fact = `a process did not stop within ${FREEZE_TIMEOUT_MS / 1000} s`;
    throw new TskataError(Code.DeadlineExceeded, `pause container: ${fact}`);
  }

  thaw(): void {
    this.writeFile('cgroup.freeze', '0');
  }

  /** Calls `changed` whenever a file of events may have changed. Returns the undo. */
  watch(name: string, changed: () => void): () => void {
    const fd = open(this.sys, name, O.RDONLY, 0, this.fd);
    const rearm = (): void => {
      // The kernel reports a change until the file is read from its start.
      this.sys.call(SYS.lseek, fd, 0, SEEK.SET);
      const buffer = new Uint8Array(1024);
      while (this.sys.read(fd, buffer, 0, buffer.length) > 0);
    };
    rearm();
    this.loop.watch(fd, EPOLL.PRI, () => {
      rearm();
      changed();
    });
    return () => {
      this.loop.unwatch(fd);
      close(this.sys, fd);
    };
  }

  /** Kills what is left and removes the group with everything below. */
  async remove(): Promise<void> {
    this.killAll();
    await this.waitForEvent('populated', 0n, EMPTY_TIMEOUT_MS);
    const directories: string[] = [];
    walk(this.sys, this.path, (directory) => directories.push(directory));
    // From here on the number of the descriptor may be another file's.
    this.removed = true;
    close(this.sys, this.fd);
    for (const directory of directories.reverse()) {
      const result = this.sys.call(SYS.unlinkat, AT.FDCWD, directory, AT.REMOVEDIR);
      if (result !== -E.ENOENT) check(result, 'remove cgroup', directory);
    }
  }

  private async waitForEvent(key: string, value: bigint, timeoutMs: number): Promise<boolean> {
    const reached = (): boolean => parseFlatKeyed(this.read('cgroup.events')).get(key) === value;
    if (reached()) return true;
    return new Promise((resolve) => {
      const end = (result: boolean): void => {
        unwatch();
        cancel();
        resolve(result);
      };
      const unwatch = this.watch('cgroup.events', () => {
        if (reached()) end(true);
      });
      const cancel = this.loop.timer(timeoutMs, () => end(reached()));
      // Between the first look and the watch.
      if (reached()) end(true);
    });
  }

  private write(write: CgroupWrite): void {
    try {
      this.writeFile(write.file, write.value);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      if (write.ignore?.includes(error.errno) === true) return;
      if (write.otherwise !== undefined && error.errno === E.ENOENT) {
        this.write(write.otherwise);
        return;
      }
      const message = `set resources: write "${write.value}" to ${write.file}: ${error.code}`;
      throw new TskataError(TskataError.from(error).code, message, error);
    }
  }

  private writeFile(name: string, value: string): void {
    if (this.removed) throw new SysError('write', `${this.path}/${name}`, E.ENOENT);
    writeFile(this.sys, name, value, O.WRONLY, 0, this.fd);
  }
}

/** The group and everything below, parents first. */
function walk(sys: Sys, path: string, visit: (directory: string) => void, depth = 0): void {
  visit(path);
  if (depth >= MAX_DEPTH) return;
  let entries: readonly { readonly name: string; readonly type: number }[];
  try {
    entries = readDirectory(sys, path);
  } catch (error) {
    if (isErrno(error, E.ENOENT, E.ENODEV)) return;
    throw error;
  }
  for (const { name, type } of entries) {
    if (type === DT.DIR) walk(sys, `${path}/${name}`, visit, depth + 1);
  }
}
