/**
 * Owns logging of the host programs: JSON lines by pino into a file of bounded size. The only importer of pino.
 * Refuses to know what is logged; callers never pass environment values, standard input or container output.
 */
import { closeSync, constants, fstatSync, openSync, renameSync, writeSync } from 'node:fs';
import { type Level, pino } from 'pino';

/** Structured data of one log line. */
type LogFields = Readonly<Record<string, unknown>>;

/** What parts of the runtime see of a log: a constant phrase and its data. */
export interface Logger {
  debug(phrase: string, fields?: LogFields): void;
  info(phrase: string, fields?: LogFields): void;
  warn(phrase: string, fields?: LogFields): void;
  error(phrase: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every line. */
  child(fields: LogFields): Logger;
}

/** A logger with a file behind it. */
export interface FileLogger extends Logger {
  close(): void;
}

/** Size at which the file is renamed to `<path>.1`; at most twice this much is kept. */
const DEFAULT_MAX_FILE_BYTES = 1024 * 1024;
/** A longer line is cut: one error text must not push out the rest of the log. */
const MAX_LINE_BYTES = 16 * 1024;

/** Drops everything. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLogger,
};

/** Opens (mode 0600) and appends. Never throws after it has been opened: a full disk loses log lines, nothing else. */
export function openFileLogger(path: string, options: { debug: boolean; maxFileBytes?: number }): FileLogger {
  const file = new BoundedFile(path, options.maxFileBytes ?? DEFAULT_MAX_FILE_BYTES);
  const base = pino(
    { level: options.debug ? 'debug' : 'info', base: null, timestamp: pino.stdTimeFunctions.isoTime },
    file,
  );
  return { ...wrap(base), close: () => file.close() };
}

interface PinoLike {
  child(bindings: Record<string, unknown>): PinoLike;
  debug(fields: object, phrase: string): void;
  info(fields: object, phrase: string): void;
  warn(fields: object, phrase: string): void;
  error(fields: object, phrase: string): void;
}

function wrap(logger: PinoLike): Logger {
  const at =
    (level: Level & keyof PinoLike) =>
    (phrase: string, fields: LogFields = {}): void =>
      logger[level](fields, phrase);
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => wrap(logger.child({ ...fields })),
  };
}

/** A pino destination that rotates once. Writes are synchronous: the file lies in a tmpfs and lines must survive a crash. */
class BoundedFile {
  readonly #path: string;
  readonly #maxBytes: number;
  #fd: number;
  #bytes: number;

  constructor(path: string, maxBytes: number) {
    this.#path = path;
    this.#maxBytes = maxBytes;
    this.#fd = openAppend(path);
    this.#bytes = fstatSync(this.#fd).size;
  }

  write(line: string): void {
    if (this.#fd < 0) return;
    const bytes = Buffer.from(line);
    const kept =
      bytes.length <= MAX_LINE_BYTES ? bytes : Buffer.concat([bytes.subarray(0, MAX_LINE_BYTES), Buffer.from('…\n')]);
    try {
      if (this.#bytes + kept.length > this.#maxBytes) this.#rotate();
      writeSync(this.#fd, kept);
      this.#bytes += kept.length;
    } catch {
      // A log that cannot be written has nowhere to say so.
    }
  }

  close(): void {
    if (this.#fd < 0) return;
    closeSync(this.#fd);
    this.#fd = -1;
  }

  #rotate(): void {
    renameSync(this.#path, `${this.#path}.1`);
    const next = openAppend(this.#path);
    closeSync(this.#fd);
    this.#fd = next;
    this.#bytes = 0;
  }
}

function openAppend(path: string): number {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;
  return openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
}
