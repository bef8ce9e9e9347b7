/**
 * Owns the directory tree of records: `<run root>/<namespace>/<id>/state.json`, 0600 in 0700, replaced atomically.
 * Refuses to know what a status means; readers must expect records whose processes are gone.
 */
import {
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type ContainerRecord, decodeRecord, encodeRecord } from './record.ts';

/** Names that may become a path component: containerd's identifiers, which never start with a dot. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
/** Entries of the run root that are no namespace. */
const RESERVED = new Set(['s', 'uids', 'cache', 'cgroups']);
const RECORD_FILE = 'state.json';
/** A record is a few kB; more is not one. */
const MAX_RECORD_BYTES = 256 * 1024;

/** An entry of a listing: the record, or why there is none. */
export type StoredRecord =
  | { readonly directory: string; readonly namespace: string; readonly id: string; readonly record: ContainerRecord }
  | {
      readonly directory: string;
      readonly namespace: string;
      readonly id: string;
      readonly record: undefined;
      readonly problem: string;
    };

/** Is `name` usable as a namespace or container id? */
export function isValidName(name: string): boolean {
  return NAME.test(name) && !RESERVED.has(name);
}

/** Records below one run root ("/run/tskata"). Synchronous: the files lie in a tmpfs and are tiny. */
export class StateStore {
  readonly runRoot: string;

  constructor(runRoot: string) {
    this.runRoot = runRoot;
  }

  /** Directory of a container's record, log and console. Throws on a name that could leave the root. */
  directory(namespace: string, id: string): string {
    if (!isValidName(namespace)) throw new Error(`find state - namespace '${namespace}' - not a valid name`);
    if (!isValidName(id)) throw new Error(`find state - container id '${id}' - not a valid name`);
    return join(this.runRoot, namespace, id);
  }

  /** Makes the directory, 0700. */
  prepare(namespace: string, id: string): string {
    const directory = this.directory(namespace, id);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return directory;
  }

  /** Writes or replaces a record: a reader sees the old one or the new one. */
  write(record: ContainerRecord): void {
    const directory = this.prepare(record.namespace, record.id);
    const temporary = join(directory, `.${RECORD_FILE}.${process.pid}`);
    const { O_CREAT, O_NOFOLLOW, O_TRUNC, O_WRONLY } = constants;
    const fd = openSync(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
    try {
      writeFileSync(fd, encodeRecord(record));
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, join(directory, RECORD_FILE));
  }

  /** The record, or undefined when there is none. Throws JsonShapeError when it cannot be read as one. */
  find(namespace: string, id: string): ContainerRecord | undefined {
    const path = join(this.directory(namespace, id), RECORD_FILE);
    try {
      if (statSync(path).size > MAX_RECORD_BYTES)
        throw new Error(`read state record - ${path} - larger than ${MAX_RECORD_BYTES} bytes`);
      return decodeRecord(readFileSync(path, 'utf8'));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** Every container directory of one namespace, or of all. A broken record is listed with its problem. */
  list(namespace?: string): StoredRecord[] {
    const found: StoredRecord[] = [];
    for (const space of namespace === undefined ? names(this.runRoot) : [namespace]) {
      if (!isValidName(space)) continue;
      for (const id of names(join(this.runRoot, space))) {
        if (!isValidName(id)) continue;
        const directory = join(this.runRoot, space, id);
        found.push({ directory, namespace: space, id, ...this.#read(space, id) });
      }
    }
    return found;
  }

  /** Removes a container's directory with everything in it. Symbolic links are not followed. Idempotent. */
  remove(namespace: string, id: string): void {
    rmSync(this.directory(namespace, id), { recursive: true, force: true });
  }

  #read(namespace: string, id: string): { record: ContainerRecord } | { record: undefined; problem: string } {
    try {
      const record = this.find(namespace, id);
      return record === undefined ? { record, problem: 'no record' } : { record };
    } catch (error) {
      return { record: undefined, problem: error instanceof Error ? error.message : String(error) };
    }
  }
}

function names(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
      .sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}
