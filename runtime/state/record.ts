/**
 * Owns the form of a container's record on disk and its strict decoder. Refuses to know where records lie and who
 * reads them. A record never holds environment values or arguments of the container.
 */
import { JsonReader, JsonShapeError } from './json-reader.ts';

/** Version of the form; a reader refuses others by name. */
const RECORD_VERSION = 1;

/** A host process that cannot be mistaken for a later one with the same number. */
export interface ProcessRef {
  readonly pid: number;
  /** Clock ticks after boot at which it started: field 22 of /proc/PID/stat. */
  readonly startTicks: number;
}

/** Closed set of what a record says about its container. */
const RECORD_STATUSES = ['creating', 'created', 'running', 'paused', 'stopped'] as const;
type RecordStatus = (typeof RECORD_STATUSES)[number];

/** How a container ended. */
export interface ExitRecord {
  /** 0..255; 128 + n for signal n. */
  readonly status: number;
  /** ISO 8601. */
  readonly at: string;
  readonly oomKilled: boolean;
  /** Why, when it was not the container's own doing: "the virtual machine ended: ...". */
  readonly reason?: string;
}

/** What outlives the shim and what others need to find, end or clean up a container. */
export interface ContainerRecord {
  readonly version: typeof RECORD_VERSION;
  readonly namespace: string;
  readonly id: string;
  /** Id of the sandbox's first container; equal to `id` for a container with a machine of its own. */
  readonly sandbox: string;
  /** Host path of the OCI bundle. */
  readonly bundle: string;
  /** Host path of the shim's socket. */
  readonly socket: string;
  readonly shim: ProcessRef;
  readonly keeper?: ProcessRef;
  readonly qemu?: ProcessRef;
  readonly status: RecordStatus;
  /** Host process number that stands for the init process, when there is one. */
  readonly pid?: number;
  readonly createdAt: string;
  readonly startedAt?: string;
  readonly exit?: ExitRecord;
  /** Annotations of the bundle that start with "io.tskata.". */
  readonly annotations: Readonly<Record<string, string>>;
}

/** Decodes a record; every field is checked, unknown ones are refused. Throws JsonShapeError naming the JSON path. */
export function decodeRecord(text: string): ContainerRecord {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new JsonShapeError('read state record: not JSON');
  }
  const reader = new JsonReader(value, '$');
  if (reader.number('version') !== RECORD_VERSION) throw new JsonShapeError('read state record: $.version: not 1');
  const record: ContainerRecord = {
    version: RECORD_VERSION,
    namespace: reader.string('namespace'),
    id: reader.string('id'),
    sandbox: reader.string('sandbox'),
    bundle: reader.string('bundle'),
    socket: reader.string('socket'),
    shim: processRef(reader.object('shim')),
    ...optional('keeper', reader.optionalObject('keeper'), processRef),
    ...optional('qemu', reader.optionalObject('qemu'), processRef),
    status: reader.oneOf('status', RECORD_STATUSES),
    ...(reader.has('pid') ? { pid: reader.number('pid') } : {}),
    createdAt: reader.string('createdAt'),
    ...(reader.has('startedAt') ? { startedAt: reader.string('startedAt') } : {}),
    ...optional('exit', reader.optionalObject('exit'), exitRecord),
    annotations: reader.object('annotations').stringMap(),
  };
  reader.refuseUnread();
  return record;
}

/** The bytes that `decodeRecord` reads back. */
export function encodeRecord(record: ContainerRecord): string {
  return `${JSON.stringify(record)}\n`;
}

function processRef(reader: JsonReader): ProcessRef {
  const ref = { pid: reader.number('pid'), startTicks: reader.number('startTicks') };
  reader.refuseUnread();
  return ref;
}

function exitRecord(reader: JsonReader): ExitRecord {
  const exit: ExitRecord = {
    status: reader.number('status'),
    at: reader.string('at'),
    oomKilled: reader.boolean('oomKilled'),
    ...(reader.has('reason') ? { reason: reader.string('reason') } : {}),
  };
  reader.refuseUnread();
  return exit;
}

function optional<K extends string, T>(
  key: K,
  reader: JsonReader | undefined,
  decode: (reader: JsonReader) => T,
): { [P in K]?: T } {
  return (reader === undefined ? {} : { [key]: decode(reader) }) as { [P in K]?: T };
}
