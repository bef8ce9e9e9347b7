/**
 * Finds QEMU and virtiofsd on this host: where, which version, and which files they need to run. It starts no machine.
 */
import { access, constants, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { programFiles } from '../helper-client/libraries.ts';
import { run } from '../host/process.ts';
import type { ChildBind } from '../vm/process-host.ts';
import { MIN_QEMU_VERSION, type QemuProgram } from './host-facts.ts';
import { kept } from './kept.ts';
import type { VirtiofsdProgram } from './virtiofsd.ts';

const QEMU_NAME = 'qemu-system-x86_64';
const SEARCH = ['/usr/local/bin', '/usr/bin', '/usr/libexec', '/usr/local/sbin', '/usr/sbin'];
/** The successor in Rust has no fixed home; QEMU's own in C came with it. */
const VIRTIOFSD_PLACES = [
  '/usr/libexec/virtiofsd',
  '/usr/lib/virtiofsd',
  '/usr/local/bin/virtiofsd',
  '/usr/bin/virtiofsd',
  '/usr/lib/qemu/virtiofsd',
];
/** Firmware and the modules into which distributions split QEMU. */
const DATA_DIRECTORIES = ['/usr/share/qemu', '/usr/share/seabios'];
const MODULE_DIRECTORIES = ['/usr/lib/x86_64-linux-gnu/qemu', '/usr/lib64/qemu', '/usr/lib/qemu'];
const MODULES = ['accel-tcg-x86_64.so'];
/** Milliseconds on an idle host, seconds on one that is itself emulated and busy. */
const VERSION_TIMEOUT_MS = 30_000;

/** QEMU, checked. @throws TskataError failed_precondition: none, too old. */
export async function findQemu(cacheDirectory: string): Promise<QemuProgram> {
  const executable = await findQemuExecutable();
  const key = await fileIdentity(executable);
  const version = await kept(path.join(cacheDirectory, 'qemu.json'), key, z.string(), () => qemuVersion(executable));
  if (compareVersions(version, MIN_QEMU_VERSION) < 0) {
    throw new TskataError(
      Code.FailedPrecondition,
      `find QEMU: ${executable} is version ${version}; ${MIN_QEMU_VERSION} or newer is needed`,
    );
  }
  const modules = await existing(MODULE_DIRECTORIES.flatMap((dir) => MODULES.map((name) => path.join(dir, name))));
  const programs = await programBinds([executable, ...modules.slice(0, 1)], cacheDirectory);
  const data = (await existing(DATA_DIRECTORIES)).map((dir) => ({ source: dir, target: dir, readOnly: true }));
  return { executable, version, binds: [...programs, ...data] };
}

/** Path of QEMU. TSKATA_QEMU names another. @throws TskataError failed_precondition. */
async function findQemuExecutable(): Promise<string> {
  const named = process.env.TSKATA_QEMU;
  const candidates = named === undefined ? SEARCH.map((dir) => path.join(dir, QEMU_NAME)) : [named];
  const found = (await existing(candidates))[0];
  if (found !== undefined) return found;
  throw new TskataError(
    Code.FailedPrecondition,
    `find QEMU: no ${named ?? QEMU_NAME}; install the package qemu-system-x86`,
  );
}

/** "7.2.22". @throws TskataError when the program does not say. */
async function qemuVersion(executable: string): Promise<string> {
  const { stdout } = await run(executable, ['--version'], { timeoutMs: VERSION_TIMEOUT_MS });
  const version = /version ([0-9]+\.[0-9]+\.[0-9]+)/.exec(stdout)?.[1];
  if (version !== undefined) return version;
  throw new TskataError(Code.FailedPrecondition, `find QEMU: ${executable} --version does not name its version`);
}

/** The newest kind of virtiofsd that there is. */
export async function findVirtiofsd(cacheDirectory: string): Promise<VirtiofsdProgram | undefined> {
  const executable = (await existing(VIRTIOFSD_PLACES))[0];
  if (executable === undefined) return undefined;
  const key = await fileIdentity(executable);
  const kind = await kept(path.join(cacheDirectory, 'virtiofsd.json'), key, z.enum(['c', 'rust']), () =>
    virtiofsdKind(executable),
  );
  return { kind, executable, binds: await programBinds([executable], cacheDirectory) };
}

async function virtiofsdKind(executable: string): Promise<VirtiofsdProgram['kind']> {
  const { stdout, stderr } = await run(executable, ['--version'], { timeoutMs: VERSION_TIMEOUT_MS });
  // Only the C program speaks of FUSE's kernel interface.
  return `${stdout}${stderr}`.includes('FUSE kernel interface') ? 'c' : 'rust';
}

/** Negative, zero or positive as `a` is older than, equal to or newer than `b`. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number));
  for (let index = 0; index < 3; index++) {
    const difference = (left?.[index] ?? 0) - (right?.[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** What changes when a program is replaced: a part of cache keys. */
export async function fileIdentity(file: string): Promise<string> {
  const found = await stat(await realpath(file));
  return [file, found.dev, found.ino, found.size, found.mtimeMs].join(':');
}

async function programBinds(programs: readonly string[], cacheDirectory: string): Promise<ChildBind[]> {
  const files = await programFiles(programs, cacheDirectory);
  return files.map(({ source, target }) => ({ source, target, readOnly: true, executable: true }));
}

async function existing(candidates: readonly string[]): Promise<string[]> {
  const checks = await Promise.all(
    candidates.map((candidate) =>
      access(candidate, constants.R_OK).then(
        () => [candidate],
        () => [],
      ),
    ),
  );
  return checks.flat();
}
