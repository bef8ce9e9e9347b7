/**
 * Owns the one message from which a shim learns who it is: strict decoding, and reading it once from a descriptor.
 * Nothing about a sandbox ever comes from argv, environment or working directory.
 */
import { Socket } from 'node:net';
import { isAbsolute } from 'node:path';
import { Code, TskataError } from '../agent/protocol/errors.ts';
import type { Caller } from '../runtime/sandbox/config.ts';
import { JsonReader, JsonShapeError } from '../runtime/state/json-reader.ts';
import { isValidName } from '../runtime/state/store.ts';

/** Version of the message. */
const ASSIGN_VERSION = 1;
/** A namespace, an id and some paths are below 20 kB even at PATH_MAX each. */
const MAX_ASSIGN_BYTES = 64 * 1024;
/** Whoever started us writes at once. */
const ASSIGN_TIMEOUT_MS = 10_000;
const NEWLINE = 0x0a;

/** Who this shim is. */
export interface Assign {
  /** containerd's namespace. */
  readonly namespace: string;
  /** Id of the sandbox: that of its first container. */
  readonly id: string;
  /** Host path of the first container's bundle. */
  readonly bundle: string;
  /** Path of the socket that we serve, removed at the end. */
  readonly socketPath: string;
  readonly runRoot: string;
  readonly libRoot: string;
  /** containerd's gRPC socket; empty when the caller is not containerd. */
  readonly containerdAddress: string;
  /** containerd's ttrpc socket for events; empty: nobody wants them. */
  readonly ttrpcAddress: string;
  /** containerd's own binary, for the events of old ones; empty when there is none. */
  readonly publishBinary: string;
  /** Who wrote the bundles; said by whoever ran the launcher, so that no bundle can claim it. */
  readonly caller: Caller;
  /** Configuration file; empty: the host's own. */
  readonly configPath: string;
  readonly debug: boolean;
}

/** Decodes one line. Throws InvalidArgument naming the field. */
export function decodeAssign(line: string): Assign {
  try {
    const reader = new JsonReader(JSON.parse(line), '$');
    if (reader.number('version') !== ASSIGN_VERSION) throw new JsonShapeError(`$.version: not ${ASSIGN_VERSION}`);
    const assign: Assign = {
      namespace: name(reader, 'namespace'),
      id: name(reader, 'id'),
      bundle: path(reader, 'bundle'),
      socketPath: path(reader, 'socketPath'),
      runRoot: path(reader, 'runRoot'),
      libRoot: path(reader, 'libRoot'),
      containerdAddress: optionalPath(reader, 'containerdAddress'),
      ttrpcAddress: optionalPath(reader, 'ttrpcAddress'),
      publishBinary: reader.string('publishBinary'),
      caller: callerOf(reader),
      configPath: optionalPath(reader, 'configPath'),
      debug: reader.boolean('debug'),
    };
    reader.refuseUnread();
    return assign;
  } catch (error) {
    throw new TskataError(
      Code.InvalidArgument,
      `read assign message: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** Reads one line from a descriptor and closes it. */
export function readAssign(fd: number): Promise<Assign> {
  const socket = new Socket({ fd, readable: true, writable: false });
  const chunks: Buffer[] = [];
  let length = 0;
  return new Promise((resolve, reject) => {
    const fail = (fact: string): void => {
      socket.destroy();
      reject(new TskataError(Code.InvalidArgument, `read assign message: ${fact}`));
    };
    const timer = setTimeout(() => fail(`nothing came within ${ASSIGN_TIMEOUT_MS} ms`), ASSIGN_TIMEOUT_MS);
    socket.on('error', (error) => fail(error.message));
    socket.on('close', () => {
      clearTimeout(timer);
      fail('it ended before its newline');
    });
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length > MAX_ASSIGN_BYTES) return fail(`longer than ${MAX_ASSIGN_BYTES} bytes`);
      if (!chunk.includes(NEWLINE)) return;
      const text = Buffer.concat(chunks).toString('utf8');
      try {
        resolve(decodeAssign(text.slice(0, text.indexOf('\n'))));
      } catch (error) {
        reject(error);
      }
      socket.destroy();
    });
  });
}

function name(reader: JsonReader, key: string): string {
  const value = reader.string(key);
  if (!isValidName(value)) throw new JsonShapeError(`$.${key}: not a valid name`);
  return value;
}

function callerOf(reader: JsonReader): Caller {
  const value = reader.string('caller');
  if (value === 'command' || value === 'containerd') return value;
  throw new JsonShapeError('$.caller: neither command nor containerd');
}

function path(reader: JsonReader, key: string): string {
  const value = reader.string(key);
  if (!isAbsolute(value)) throw new JsonShapeError(`$.${key}: not an absolute path`);
  return value;
}

function optionalPath(reader: JsonReader, key: string): string {
  return reader.string(key) === '' ? '' : path(reader, key);
}
