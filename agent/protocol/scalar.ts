/**
 * The scalar types of protobuf: how each is read, checked and written. It knows no message.
 */
import { type WireReader, WireType, type WireWriter } from './wire.ts';

export type ScalarName =
  | 'double'
  | 'float'
  | 'int32'
  | 'uint32'
  | 'sint32'
  | 'fixed32'
  | 'sfixed32'
  | 'int64'
  | 'uint64'
  | 'sint64'
  | 'fixed64'
  | 'sfixed64'
  | 'bool'
  | 'string'
  | 'bytes';

export interface Scalar {
  readonly name: ScalarName;
  readonly wireType: number;
  /** Whether a repeated field of it is one run. */
  readonly packable: boolean;
  initial(): unknown;
  isDefault(value: unknown): boolean;
  read(reader: WireReader): unknown;
  /** False, with nothing written, when the value does not fit. */
  write(writer: WireWriter, value: unknown): boolean;
}

const EMPTY = new Uint8Array(0);

function isInt32(value: unknown): value is number {
  return typeof value === 'number' && (value | 0) === value;
}

function isUint32(value: unknown): value is number {
  return typeof value === 'number' && value >>> 0 === value;
}

const MAX_UINT64 = (1n << 64n) - 1n;
const MAX_INT64 = (1n << 63n) - 1n;

/** The exact bigint of a value, or undefined. */
function exact(value: unknown, signed: boolean): bigint | undefined {
  const wide = typeof value === 'bigint' ? value : Number.isSafeInteger(value) ? BigInt(value as number) : undefined;
  if (wide === undefined) return undefined;
  return signed
    ? wide <= MAX_INT64 && wide >= -MAX_INT64 - 1n
      ? wide
      : undefined
    : wide >= 0n && wide <= MAX_UINT64
      ? wide
      : undefined;
}

function number32(
  name: ScalarName,
  wireType: number,
  fits: (value: unknown) => value is number,
  read: (reader: WireReader) => number,
  put: (writer: WireWriter, value: number) => void,
): Scalar {
  return {
    name,
    wireType,
    packable: true,
    initial: () => 0,
    // -0 is not the default: its bits differ.
    isDefault: (value) => Object.is(value, 0),
    read,
    write: (writer, value) => {
      if (!fits(value)) return false;
      put(writer, value);
      return true;
    },
  };
}

function number64(
  name: ScalarName,
  wireType: number,
  signed: boolean,
  read: (reader: WireReader) => bigint,
  put: (writer: WireWriter, value: bigint) => void,
): Scalar {
  return {
    name,
    wireType,
    packable: true,
    initial: () => 0n,
    isDefault: (value) => value === 0n || value === 0,
    read,
    write: (writer, value) => {
      const wide = exact(value, signed);
      if (wide === undefined) return false;
      put(writer, wide);
      return true;
    },
  };
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number';
}

const SCALARS: readonly Scalar[] = [
  number32(
    'double',
    WireType.Fixed64,
    isNumber,
    (r) => r.double(),
    (w, v) => w.double(v),
  ),
  number32(
    'float',
    WireType.Fixed32,
    isNumber,
    (r) => r.float(),
    (w, v) => w.float(v),
  ),
  number32(
    'int32',
    WireType.Varint,
    isInt32,
    (r) => r.uint32() | 0,
    (w, v) => w.int32(v),
  ),
  number32(
    'uint32',
    WireType.Varint,
    isUint32,
    (r) => r.uint32(),
    (w, v) => w.uint32(v),
  ),
  number32(
    'sint32',
    WireType.Varint,
    isInt32,
    (r) => unzigzag(r.uint32()),
    (w, v) => w.uint32((v << 1) ^ (v >> 31)),
  ),
  number32(
    'fixed32',
    WireType.Fixed32,
    isUint32,
    (r) => r.fixed32(),
    (w, v) => w.fixed32(v),
  ),
  number32(
    'sfixed32',
    WireType.Fixed32,
    isInt32,
    (r) => r.fixed32() | 0,
    (w, v) => w.fixed32(v),
  ),
  number64(
    'int64',
    WireType.Varint,
    true,
    (r) => r.int64(),
    (w, v) => w.uint64(v),
  ),
  number64(
    'uint64',
    WireType.Varint,
    false,
    (r) => r.uint64(),
    (w, v) => w.uint64(v),
  ),
  number64(
    'sint64',
    WireType.Varint,
    true,
    (r) => r.sint64(),
    (w, v) => w.uint64((v << 1n) ^ (v >> 63n)),
  ),
  number64(
    'fixed64',
    WireType.Fixed64,
    false,
    (r) => r.fixed64(),
    (w, v) => w.fixed64(v),
  ),
  number64(
    'sfixed64',
    WireType.Fixed64,
    true,
    (r) => BigInt.asIntN(64, r.fixed64()),
    (w, v) => w.fixed64(v),
  ),
  {
    name: 'bool',
    wireType: WireType.Varint,
    packable: true,
    initial: () => false,
    isDefault: (value) => value === false,
    read: (reader) => reader.bool(),
    write: (writer, value) => {
      if (typeof value !== 'boolean') return false;
      writer.uint32(value ? 1 : 0);
      return true;
    },
  },
  {
    name: 'string',
    wireType: WireType.Bytes,
    packable: false,
    initial: () => '',
    isDefault: (value) => value === '',
    read: (reader) => reader.string(),
    write: (writer, value) => {
      if (typeof value !== 'string') return false;
      writer.string(value);
      return true;
    },
  },
  {
    name: 'bytes',
    wireType: WireType.Bytes,
    packable: false,
    initial: () => EMPTY,
    isDefault: (value) => value instanceof Uint8Array && value.length === 0,
    // A copy: the frame that it came in is reused.
    read: (reader) => new Uint8Array(reader.run()),
    write: (writer, value) => {
      if (!(value instanceof Uint8Array)) return false;
      writer.run(value);
      return true;
    },
  },
];

function unzigzag(value: number): number {
  return (value >>> 1) ^ -(value & 1);
}

const BY_NAME = new Map(SCALARS.map((scalar) => [scalar.name, scalar]));

export function findScalar(name: ScalarName): Scalar {
  return BY_NAME.get(name) as Scalar;
}
