/**
 * What the dynamic section of an ELF program says about the files that it needs. Pure: bytes in, names out. Little
 * endian, 64 bit; anything else is refused.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';

/** Names as they are in the file; `$ORIGIN` is not replaced. */
export interface ElfNeeds {
  /** The dynamic loader, for a program. */
  readonly interpreter: string | undefined;
  readonly needed: readonly string[];
  /** Directories of RUNPATH, or of RPATH. */
  readonly searchPath: readonly string[];
}

const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const PT_INTERP = 3;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;
const DT_RPATH = 15n;
const DT_RUNPATH = 29n;
const HEADER_BYTES = 64;
const SEGMENT_BYTES = 56;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly size: number;
}

/** Reads the needs of an ELF file. Throws InvalidArgument with `subject` when it is none. */
export function parseElfNeeds(file: Uint8Array, subject: string): ElfNeeds {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const bad = (fact: string): TskataError => new TskataError(Code.InvalidArgument, `read ELF file ${subject}: ${fact}`);
  if (file.length < HEADER_BYTES || view.getUint32(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) {
    throw bad('not a 64-bit little-endian ELF file');
  }
  try {
    const segments = readSegments(view);
    const interpreter = segments.find((segment) => segment.type === PT_INTERP);
    const dynamic = segments.find((segment) => segment.type === PT_DYNAMIC);
    return {
      interpreter: interpreter === undefined ? undefined : cString(file, interpreter.offset),
      ...(dynamic === undefined ? { needed: [], searchPath: [] } : readDynamic(file, view, segments, dynamic)),
    };
  } catch (error) {
    if (error instanceof RangeError) throw bad('an offset is outside of the file');
    throw error;
  }
}

function readSegments(view: DataView): Segment[] {
  const start = Number(view.getBigUint64(32, true));
  const size = view.getUint16(54, true);
  const count = view.getUint16(56, true);
  if (size < SEGMENT_BYTES) return [];
  return Array.from({ length: count }, (_, index) => {
    const at = start + index * size;
    return {
      type: view.getUint32(at, true),
      offset: Number(view.getBigUint64(at + 8, true)),
      address: Number(view.getBigUint64(at + 16, true)),
      size: Number(view.getBigUint64(at + 32, true)),
    };
  });
}

function readDynamic(
  file: Uint8Array,
  view: DataView,
  segments: readonly Segment[],
  dynamic: Segment,
): { needed: string[]; searchPath: string[] } {
  const entries: [bigint, number][] = [];
  for (let at = dynamic.offset; at + 16 <= dynamic.offset + dynamic.size; at += 16) {
    const tag = view.getBigUint64(at, true);
    if (tag === 0n) break;
    entries.push([tag, Number(view.getBigUint64(at + 8, true))]);
  }
  const address = entries.find(([tag]) => tag === DT_STRTAB)?.[1];
  if (address === undefined) return { needed: [], searchPath: [] };
  const load = segments.find(
    (segment) => segment.type === PT_LOAD && address >= segment.address && address < segment.address + segment.size,
  );
  const strings = load === undefined ? address : address - load.address + load.offset;
  const all = (wanted: bigint): string[] =>
    entries.filter(([tag]) => tag === wanted).map(([, offset]) => cString(file, strings + offset));
  const runPath = all(DT_RUNPATH);
  const searchPath = (runPath.length > 0 ? runPath : all(DT_RPATH)).flatMap((list) => list.split(':'));
  return { needed: all(DT_NEEDED), searchPath: searchPath.filter((path) => path !== '') };
}

function cString(file: Uint8Array, offset: number): string {
  if (offset < 0 || offset >= file.length) throw new RangeError('offset');
  const end = file.indexOf(0, offset);
  if (end < 0) throw new RangeError('string without end');
  return Buffer.from(file.buffer, file.byteOffset + offset, end - offset).toString('latin1');
}
