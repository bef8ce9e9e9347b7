/**
 * The protobuf wire format: varints, fixed words and length-delimited runs. It knows no message.
 *
 * 64-bit values are bigint on both sides and exact; values below 2^53 take a path without bigint arithmetic. A
 * malformed input throws a TskataError (invalid argument) and never reads past its end.
 */
import { Code, TskataError } from './errors.ts';
import { decodeUtf8, encodeUtf8 } from './text.ts';

export const WireType = { Varint: 0, Fixed64: 1, Bytes: 2, Fixed32: 5 } as const;

const TWO_32 = 4_294_967_296;
const INITIAL_BYTES = 64;

function malformed(fact: string): never {
  throw new TskataError(Code.InvalidArgument, `decode message: ${fact}`);
}

/** Reads one message's bytes from front to back. */
export class WireReader {
  readonly bytes: Uint8Array;
  private readonly view: DataView;
  private position: number;
  private end: number;
  /** Words of the last 64-bit varint. */
  private low = 0;
  private high = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.position = 0;
    this.end = bytes.length;
  }

  get done(): boolean {
    return this.position >= this.end;
  }

  /** Narrows the reader to the next `length` bytes; `leave` with the result widens it again. */
  enter(length: number): number {
    const outer = this.end;
    if (length > outer - this.position) malformed(`a length of ${length} exceeds what is left`);
    this.end = this.position + length;
    return outer;
  }

  leave(outer: number): void {
    this.position = this.end;
    this.end = outer;
  }

  private take(count: number): number {
    const start = this.position;
    if (count > this.end - start) malformed('it ends inside a field');
    this.position = start + count;
    return start;
  }

  /** A varint as its low 32 bits, unsigned; higher bits are dropped, as protobuf prescribes. */
  uint32(): number {
    const first = this.bytes[this.position] as number;
    if (this.position < this.end && first < 0x80) {
      this.position++;
      return first;
    }
    this.varint();
    return this.low;
  }

  private varint(): void {
    let low = 0;
    let high = 0;
    for (let index = 0; index < 10; index++) {
      const byte = this.bytes[this.take(1)] as number;
      const bits = byte & 0x7f;
      if (index < 4) low |= bits << (7 * index);
      else if (index === 4) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (7 * index - 32);
      if (byte < 0x80) {
        this.low = low >>> 0;
        this.high = high >>> 0;
        return;
      }
    }
    malformed('a varint is longer than 10 bytes');
  }

  private words(): bigint {
    return this.high < 0x20_0000
      ? BigInt(this.high * TWO_32 + this.low)
      : (BigInt(this.high) << 32n) | BigInt(this.low);
  }

  uint64(): bigint {
    this.varint();
    return this.words();
  }

  int64(): bigint {
    return BigInt.asIntN(64, this.uint64());
  }

  sint64(): bigint {
    const value = this.uint64();
    return (value >> 1n) ^ -(value & 1n);
  }

  bool(): boolean {
    this.varint();
    return this.low !== 0 || this.high !== 0;
  }

  fixed32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  fixed64(): bigint {
    const start = this.take(8);
    this.low = this.view.getUint32(start, true);
    this.high = this.view.getUint32(start + 4, true);
    return this.words();
  }

  float(): number {
    return this.view.getFloat32(this.take(4), true);
  }

  double(): number {
    return this.view.getFloat64(this.take(8), true);
  }

  /** A view into the input, valid as long as the input is. */
  run(): Uint8Array {
    const length = this.uint32();
    const start = this.take(length);
    return this.bytes.subarray(start, start + length);
  }

  string(): string {
    return decodeUtf8(this.run());
  }

  skip(wireType: number): void {
    if (wireType === WireType.Varint) this.varint();
    else if (wireType === WireType.Fixed64) this.take(8);
    else if (wireType === WireType.Bytes) this.run();
    else if (wireType === WireType.Fixed32) this.take(4);
    else malformed(`wire type ${wireType} is not one of proto3`);
  }
}

/** Grows a buffer. One writer makes one message. */
export class WireWriter {
  private bytes = new Uint8Array(INITIAL_BYTES);
  private view = new DataView(this.bytes.buffer);
  private length = 0;

  private grow(count: number): number {
    const start = this.length;
    this.length = start + count;
    if (this.length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(this.length, this.bytes.length * 2));
      larger.set(this.bytes.subarray(0, start));
      this.bytes = larger;
      this.view = new DataView(larger.buffer);
    }
    return start;
  }

  /** What was written; a view into the writer's buffer, which nobody else holds. */
  finish(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  uint32(value: number): void {
    let rest = value >>> 0;
    while (rest > 0x7f) {
      const at = this.grow(1);
      this.bytes[at] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    const at = this.grow(1);
    this.bytes[at] = rest;
  }

  int32(value: number): void {
    if (value >= 0) this.uint32(value);
    else this.words(value >>> 0, 0xffff_ffff);
  }

  uint64(value: bigint): void {
    const unsigned = BigInt.asUintN(64, value);
    this.words(Number(unsigned & 0xffff_ffffn), Number(unsigned >> 32n));
  }

  private words(lowWord: number, highWord: number): void {
    let low = lowWord;
    let high = highWord;
    while (high !== 0) {
      const at = this.grow(1);
      this.bytes[at] = (low & 0x7f) | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    this.uint32(low);
  }

  fixed32(value: number): void {
    const at = this.grow(4);
    this.view.setUint32(at, value, true);
  }

  fixed64(value: bigint): void {
    const at = this.grow(8);
    const unsigned = BigInt.asUintN(64, value);
    this.view.setUint32(at, Number(unsigned & 0xffff_ffffn), true);
    this.view.setUint32(at + 4, Number(unsigned >> 32n), true);
  }

  float(value: number): void {
    const at = this.grow(4);
    this.view.setFloat32(at, value, true);
  }

  double(value: number): void {
    const at = this.grow(8);
    this.view.setFloat64(at, value, true);
  }

  run(value: Uint8Array): void {
    this.uint32(value.length);
    const at = this.grow(value.length);
    this.bytes.set(value, at);
  }

  string(value: string): void {
    this.run(encodeUtf8(value));
  }

  /** Begins a length-delimited run whose length is not known yet; `close` with the result ends it. */
  open(): number {
    return this.grow(1) + 1;
  }

  close(start: number): void {
    const length = this.length - start;
    if (length < 0x80) {
      this.bytes[start - 1] = length;
      return;
    }
    // The length needs more than the byte that was kept for it: the run moves up.
    let extra = 1;
    for (let rest = length >>> 14; rest > 0; rest >>>= 7) extra++;
    this.grow(extra);
    this.bytes.copyWithin(start + extra, start, start + length);
    this.length = start - 1;
    this.uint32(length);
    this.length = start + extra + length;
  }
}
