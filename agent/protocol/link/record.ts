/**
 * The record format of a virtio-serial port, and how records are found in its bytes. PROTOCOL.md has the figure and the
 * argument. It knows neither side's duties at a reset.
 *
 *   | kind u8 | length u24 LE | payload | epoch tag u32 LE |
 */
import { reserve } from '../buffer.ts';
import { assert } from '../errors.ts';

/** None is 0: at a record boundary a zero byte is padding. */
export const Kind = { Data: 1, Reset: 2, Ack: 3 } as const;

export const RECORD_HEADER_BYTES = 4;
const RECORD_TAG_BYTES = 4;
export const RECORD_OVERHEAD_BYTES = RECORD_HEADER_BYTES + RECORD_TAG_BYTES;
export const NONCE_BYTES = 16;

const MAGIC_BYTES = 16;

/** Drawn at random once; what they are does not matter, only that nothing else begins like them. */
const RESET_MAGIC = Uint8Array.of(
  0x9e,
  0x5b,
  0xd1,
  0x27,
  0xc3,
  0x84,
  0xf6,
  0x1d,
  0xa7,
  0x60,
  0xeb,
  0x3c,
  0x95,
  0x48,
  0xd9,
  0x72,
);
const ACK_MAGIC = Uint8Array.of(
  0x63,
  0xaf,
  0x18,
  0xe4,
  0x5d,
  0xb2,
  0x79,
  0xc6,
  0x31,
  0x8a,
  0xf4,
  0x0b,
  0xde,
  0x57,
  0x92,
  0xec,
);

const RESET_PAYLOAD_BYTES = MAGIC_BYTES + NONCE_BYTES + RECORD_TAG_BYTES;
const ACK_PAYLOAD_BYTES = MAGIC_BYTES + NONCE_BYTES;

/** A record with room for `length` payload bytes; header is set, payload and tag are not. */
function blankRecord(kind: number, length: number): Uint8Array {
  const record = new Uint8Array(length + RECORD_OVERHEAD_BYTES);
  putHeader(record, kind, length);
  return record;
}

export function putHeader(record: Uint8Array, kind: number, length: number): void {
  record[0] = kind;
  record[1] = length & 0xff;
  record[2] = (length >>> 8) & 0xff;
  record[3] = length >>> 16;
}

export function putU32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value & 0xff;
  bytes[offset + 1] = (value >>> 8) & 0xff;
  bytes[offset + 2] = (value >>> 16) & 0xff;
  bytes[offset + 3] = value >>> 24;
}

export function getU32(bytes: Uint8Array, offset: number): number {
  const [a, b, c, d] = [bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]] as [
    number,
    number,
    number,
    number,
  ];
  return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
}

/**
 * Whether a number may be an epoch: no byte of it is zero. A tag that padding has completed has at least one zero byte,
 * so it is never an epoch.
 */
export function isEpoch(value: number): boolean {
  return (value & 0xff) !== 0 && (value & 0xff00) !== 0 && (value & 0xff_0000) !== 0 && value >>> 24 !== 0;
}

/** An epoch from four random bytes. */
export function epochOf(random: Uint8Array): number {
  return getU32(
    random.subarray(0, 4).map((byte) => byte || 1),
    0,
  );
}

export function encodeReset(nonce: Uint8Array, epoch: number): Uint8Array {
  const record = blankRecord(Kind.Reset, RESET_PAYLOAD_BYTES);
  record.set(RESET_MAGIC, RECORD_HEADER_BYTES);
  record.set(nonce, RECORD_HEADER_BYTES + MAGIC_BYTES);
  putU32(record, RECORD_HEADER_BYTES + MAGIC_BYTES + NONCE_BYTES, epoch);
  putU32(record, RECORD_HEADER_BYTES + RESET_PAYLOAD_BYTES, epoch);
  return record;
}

export function encodeAck(nonce: Uint8Array, epoch: number): Uint8Array {
  const record = blankRecord(Kind.Ack, ACK_PAYLOAD_BYTES);
  record.set(ACK_MAGIC, RECORD_HEADER_BYTES);
  record.set(nonce, RECORD_HEADER_BYTES + MAGIC_BYTES);
  putU32(record, RECORD_HEADER_BYTES + ACK_PAYLOAD_BYTES, epoch);
  return record;
}

/** What every reset record begins with. */
export function resetPrefix(): Uint8Array {
  return encodeReset(new Uint8Array(NONCE_BYTES), 0).slice(0, RECORD_HEADER_BYTES + MAGIC_BYTES);
}

/** The contents of a reset record, or undefined when it is not a whole one. */
export function decodeReset(
  payload: Uint8Array,
  tag: number,
): { readonly nonce: Uint8Array; readonly epoch: number } | undefined {
  if (payload.length !== RESET_PAYLOAD_BYTES) return undefined;
  for (let index = 0; index < MAGIC_BYTES; index++) if (payload[index] !== RESET_MAGIC[index]) return undefined;
  const epoch = getU32(payload, MAGIC_BYTES + NONCE_BYTES);
  if (epoch !== tag || !isEpoch(epoch)) return undefined;
  return { nonce: payload.slice(MAGIC_BYTES, MAGIC_BYTES + NONCE_BYTES), epoch };
}

/** Finds a fixed run of bytes in a stream that comes in pieces. */
export class Finder {
  private readonly pattern: Uint8Array;
  /** For each length of a partial match, the next shorter one that the same bytes are. */
  private readonly fallback: readonly number[];
  private matched = 0;

  constructor(pattern: Uint8Array) {
    this.pattern = pattern;
    const fallback = [0];
    for (let index = 1, length = 0; index < pattern.length; index++) {
      while (length > 0 && pattern[index] !== pattern[length]) length = fallback[length - 1] as number;
      if (pattern[index] === pattern[length]) length++;
      fallback.push(length);
    }
    this.fallback = fallback;
  }

  /** The index after the pattern's last byte, or -1 when it is not complete by the end of `bytes`. */
  find(bytes: Uint8Array, from: number): number {
    const { pattern } = this;
    let at = from;
    while (at < bytes.length) {
      if (this.matched === 0) {
        // Native search for the first byte: megabytes of stale output are skipped at its speed.
        at = bytes.indexOf(pattern[0] as number, at);
        if (at < 0) return -1;
      }
      while (this.matched > 0 && bytes[at] !== pattern[this.matched])
        this.matched = this.fallback[this.matched - 1] as number;
      if (bytes[at] === pattern[this.matched]) this.matched++;
      at++;
      if (this.matched === pattern.length) {
        this.matched = 0;
        return at;
      }
    }
    return -1;
  }
}

export interface RecordHandler {
  /** A whole record. The payload is only valid during the call. */
  onRecord(kind: number, payload: Uint8Array, tag: number): void;
  /** A zero byte at a record boundary: padding. The byte stays to be read. */
  onPadding(): void;
  /** Something that no record begins with. */
  onStrange(fact: string): void;
  /** Asked between steps; false stops the reader. */
  readonly active: boolean;
}

/** Cuts bytes into records. */
export class RecordReader {
  private readonly maxPayloadBytes: number;
  private readonly handler: RecordHandler;
  private readonly head = new Uint8Array(RECORD_HEADER_BYTES);
  private headLength = 0;
  /** Payload and tag of the record under way: bytes wanted (0: none under way), bytes there, and the bytes. */
  private want = 0;
  private have = 0;
  private body: Uint8Array | undefined;

  constructor(maxPayloadBytes: number, handler: RecordHandler) {
    assert(maxPayloadBytes >= RESET_PAYLOAD_BYTES, 'padding for the largest record completes a reset too');
    this.maxPayloadBytes = maxPayloadBytes;
    this.handler = handler;
  }

  /** Forgets a record that is under way. */
  clear(): void {
    this.headLength = 0;
    this.want = 0;
    this.body = undefined;
  }

  /** Reads from `from` on, as long as the handler is active. Returns where it stopped. */
  feed(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length && this.handler.active) {
      at = this.want === 0 ? this.takeHead(bytes, at) : this.takeBody(bytes, at);
    }
    return at;
  }

  private takeHead(bytes: Uint8Array, from: number): number {
    let at = from;
    const first = bytes[at] as number;
    if (this.headLength === 0 && (first < Kind.Data || first > Kind.Ack)) {
      if (first === 0) this.handler.onPadding();
      else this.handler.onStrange(`byte ${first} begins no record`);
      return at;
    }
    while (this.headLength < RECORD_HEADER_BYTES && at < bytes.length)
      this.head[this.headLength++] = bytes[at++] as number;
    if (this.headLength < RECORD_HEADER_BYTES) return at;
    this.headLength = 0;
    const length = getU32(this.head, 0) >>> 8;
    if (length > this.maxPayloadBytes) {
      this.handler.onStrange(`a record of ${length} bytes, the limit is ${this.maxPayloadBytes}`);
      return at;
    }
    this.want = length + RECORD_TAG_BYTES;
    this.have = 0;
    return at;
  }

  private takeBody(bytes: Uint8Array, at: number): number {
    const { want } = this;
    const count = Math.min(want - this.have, bytes.length - at);
    if (count === want) {
      this.deliver(bytes, at, want);
      return at + count;
    }
    this.body = reserve(this.body, this.have, this.have + count, want);
    this.body.set(bytes.subarray(at, at + count), this.have);
    this.have += count;
    if (this.have === want) {
      const body = this.body;
      this.body = undefined;
      this.deliver(body, 0, want);
    }
    return at + count;
  }

  private deliver(bytes: Uint8Array, at: number, want: number): void {
    this.want = 0;
    const end = at + want - RECORD_TAG_BYTES;
    this.handler.onRecord(this.head[0] as number, bytes.subarray(at, end), getU32(bytes, end));
  }
}
