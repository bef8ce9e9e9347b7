/**
 * The frames of the bytes port, one in each record. It knows no stream.
 *
 *   | stream id u32 LE | type u8 | body |
 */
import { recordRoom } from '../link/link.ts';
import { getU32, putU32, RECORD_HEADER_BYTES } from '../link/record.ts';

export const MuxType = { Data: 1, End: 2, Abort: 3, Credit: 4 } as const;

export const MUX_HEADER_BYTES = 5;
const CREDIT_BODY_BYTES = 4;

/** Where the body of a frame begins in its record. */
export const BODY_OFFSET = RECORD_HEADER_BYTES + MUX_HEADER_BYTES;

/** A record with room for a body of `length` bytes at BODY_OFFSET. */
export function frameRoom(streamId: number, type: number, length: number): Uint8Array {
  const record = recordRoom(MUX_HEADER_BYTES + length);
  putFrameHeader(record, streamId, type);
  return record;
}

export function putFrameHeader(record: Uint8Array, streamId: number, type: number): void {
  putU32(record, RECORD_HEADER_BYTES, streamId);
  record[RECORD_HEADER_BYTES + 4] = type;
}

/** The record of a frame without a body. */
export function bareFrame(streamId: number, type: number): Uint8Array {
  return frameRoom(streamId, type, 0);
}

export function creditFrame(streamId: number, count: number): Uint8Array {
  const record = frameRoom(streamId, MuxType.Credit, CREDIT_BODY_BYTES);
  putU32(record, BODY_OFFSET, count);
  return record;
}

/** The grant of a credit frame's body, or 0 when it is not one. */
export function decodeCredit(body: Uint8Array): number {
  return body.length === CREDIT_BODY_BYTES ? getU32(body, 0) : 0;
}
