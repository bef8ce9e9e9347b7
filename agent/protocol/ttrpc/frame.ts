/**
 * ttrpc's frame header: 10 bytes, big-endian, before every message. It knows neither calls nor transports.
 *
 *   | length u32 (of the message) | stream id u32 | type u8 | flags u8 |
 */
import { TTRPC_HEADER_BYTES } from '../limits.ts';

export const FrameType = { Request: 1, Response: 2, Data: 3 } as const;

/** Flag of a request that goes on with Data frames: a streaming call, which nobody here offers. */
export const FLAG_REMOTE_OPEN = 2;

export interface FrameHeader {
  readonly length: number;
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
}

export function encodeHeader(length: number, streamId: number, type: number): Uint8Array {
  const bytes = new Uint8Array(TTRPC_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length);
  view.setUint32(4, streamId);
  bytes[8] = type;
  return bytes;
}

/** `bytes` has at least a header's length from `offset` on. */
export function decodeHeader(bytes: Uint8Array, offset: number): FrameHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, TTRPC_HEADER_BYTES);
  return { length: view.getUint32(0), streamId: view.getUint32(4), type: view.getUint8(8), flags: view.getUint8(9) };
}
