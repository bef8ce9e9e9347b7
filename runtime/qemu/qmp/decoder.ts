/**
 * Cuts the bytes of a QMP monitor into messages. It owns the size limits and the shape check of a message; it knows no
 * command and no event. QEMU may be under a guest's control, so everything that arrives is bounded and looked up.
 */

/** A JSON object as QMP sends it. */
export type QmpObject = { readonly [key: string]: unknown };

/** One message of the monitor, told apart by its only mandatory key. */
export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: string }
  | { readonly kind: 'return'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number | undefined; readonly errorClass: string; readonly text: string }
  | { readonly kind: 'event'; readonly name: string; readonly data: QmpObject };

/** Longest line taken from QEMU. The longest answers we ask for are a few kilobytes. */
export const MAX_QMP_LINE_BYTES = 1024 * 1024;

/** Longest text that an error of QEMU's contributes to one of ours. */
const MAX_ERROR_TEXT = 1000;

/** What came was not QMP. The session cannot go on. */
export class QmpFormatError extends Error {
  override readonly name = 'QmpFormatError';
}

/** Turns chunks into messages, keeping at most one unfinished line. */
export class QmpDecoder {
  readonly #decoder = new TextDecoder('utf-8');
  #parts: Uint8Array[] = [];
  #pendingBytes = 0;

  /**
   * Takes the next bytes and yields the messages that they complete.
   *
   * @throws QmpFormatError when a line is too long, not JSON, or no QMP message.
   */
  push(chunk: Uint8Array): QmpMessage[] {
    const messages: QmpMessage[] = [];
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(0x0a, start);
      if (end < 0) break;
      const line = this.#take(chunk.subarray(start, end));
      start = end + 1;
      if (line.trim() !== '') messages.push(parseMessage(line));
    }
    this.#keep(chunk.subarray(start));
    return messages;
  }

  #take(last: Uint8Array): string {
    this.#keep(last);
    const line = this.#decoder.decode(Buffer.concat(this.#parts, this.#pendingBytes));
    this.#parts = [];
    this.#pendingBytes = 0;
    return line;
  }

  #keep(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes > MAX_QMP_LINE_BYTES) {
      throw new QmpFormatError(`read QMP: a line is longer than ${MAX_QMP_LINE_BYTES} bytes`);
    }
    this.#parts.push(bytes.slice());
  }
}

function parseMessage(line: string): QmpMessage {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new QmpFormatError(`read QMP: not JSON: ${excerpt(line)}`);
  }
  if (!isObject(value)) throw new QmpFormatError(`read QMP: not an object: ${excerpt(line)}`);
  const message = readKind(value);
  if (message === undefined) throw new QmpFormatError(`read QMP: not a message: ${excerpt(line)}`);
  return message;
}

function readKind(value: QmpObject): QmpMessage | undefined {
  const id = own(value, 'id');
  const number = typeof id === 'number' && Number.isSafeInteger(id) ? id : undefined;
  if (Object.hasOwn(value, 'return')) {
    return number === undefined ? undefined : { kind: 'return', id: number, value: value.return };
  }
  const error = own(value, 'error');
  if (isObject(error)) {
    const text = own(error, 'desc');
    const errorClass = own(error, 'class');
    return {
      kind: 'error',
      id: number,
      errorClass: typeof errorClass === 'string' ? errorClass.slice(0, 100) : 'unknown',
      text: typeof text === 'string' ? text.slice(0, MAX_ERROR_TEXT) : 'no description',
    };
  }
  const event = own(value, 'event');
  if (typeof event === 'string') {
    const data = own(value, 'data');
    return { kind: 'event', name: event.slice(0, 100), data: isObject(data) ? data : {} };
  }
  const greeting = own(value, 'QMP');
  return isObject(greeting) ? { kind: 'greeting', version: readVersion(greeting) } : undefined;
}

function readVersion(greeting: QmpObject): string {
  const version = own(greeting, 'version');
  const qemu = isObject(version) ? own(version, 'qemu') : undefined;
  if (!isObject(qemu)) return '0.0.0';
  return ['major', 'minor', 'micro'].map((part) => Number(own(qemu, part) ?? 0)).join('.');
}

/** An own property, so that `__proto__` and friends in a message are data and nothing else. */
export function own(value: QmpObject, key: string): unknown {
  return Object.hasOwn(value, key) ? value[key] : undefined;
}

export function isObject(value: unknown): value is QmpObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function excerpt(line: string): string {
  return JSON.stringify(line.slice(0, 80));
}
