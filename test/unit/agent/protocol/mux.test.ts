/** Streams: golden frames, credit, turns, endings, and what a guest that breaks the rules costs. */
import { describe, expect, it } from 'vitest';
import { Code, TskataError } from '../../../../agent/protocol/errors.ts';
import {
  MAX_STREAM_BODY_BYTES,
  MAX_STREAMS,
  STREAM_GRANT_BYTES,
  STREAM_WINDOW_BYTES,
} from '../../../../agent/protocol/limits.ts';
import type { Link } from '../../../../agent/protocol/link/link.ts';
import { RECORD_HEADER_BYTES } from '../../../../agent/protocol/link/record.ts';
import { GuestMux, HostMux } from '../../../../agent/protocol/mux/mux.ts';
import type { MuxStream } from '../../../../agent/protocol/mux/stream.ts';
import { BYTES_PAYLOAD_BYTES } from '../../../../agent/protocol/serve.ts';

/** A link to another one, without the bytes between: payloads wait until `deliver`. */
class TestLink implements Link {
  readonly maxPayloadBytes = BYTES_PAYLOAD_BYTES;
  onPayload: (payload: Uint8Array) => void = () => {};
  onDrain: () => void = () => {};
  onDown: (error?: Error) => void = () => {};
  sent: Uint8Array[] = [];
  congestAfter = Number.POSITIVE_INFINITY;
  faults: string[] = [];
  send(): boolean {
    throw new Error('not used by streams');
  }
  sendRecord(record: Uint8Array, payloadLength: number): boolean {
    this.sent.push(record.slice(RECORD_HEADER_BYTES, RECORD_HEADER_BYTES + payloadLength));
    return this.sent.length < this.congestAfter;
  }
  setReading(): void {}
  fail(fact: string): void {
    this.faults.push(fact);
    this.onDown(new TskataError(Code.DataLoss, fact));
  }
  close(): void {}
  take(): Uint8Array[] {
    const sent = this.sent;
    this.sent = [];
    return sent;
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const HELLO = new Uint8Array(Buffer.from('hello'));

function pair() {
  const [hostLink, guestLink] = [new TestLink(), new TestLink()];
  const [host, guest] = [new HostMux(hostLink), new GuestMux(guestLink)];
  /** Moves everything that waits, until nothing does. */
  const settle = (): void => {
    for (;;) {
      const [toGuest, toHost] = [hostLink.take(), guestLink.take()];
      if (toGuest.length + toHost.length === 0) return;
      for (const payload of toGuest) guestLink.onPayload(payload);
      for (const payload of toHost) hostLink.onPayload(payload);
    }
  };
  const open = (): readonly [MuxStream, MuxStream] => {
    const near = host.open();
    const far = guest.accept(near.id);
    settle();
    return [near, far];
  };
  return { hostLink, guestLink, host, guest, settle, open };
}

/** Counts what comes; consumes it when asked to. */
function sink(stream: MuxStream, consume = true) {
  const seen = { bytes: 0, frames: 0, ended: 0, aborted: [] as TskataError[] };
  stream.onData = (bytes) => {
    seen.bytes += bytes.length;
    seen.frames++;
    if (consume) stream.consumed(bytes.length);
  };
  stream.onEnd = () => seen.ended++;
  stream.onAbort = (error) => seen.aborted.push(error);
  return seen;
}

/** Sends `total` bytes as credit allows. */
function pour(stream: MuxStream, total: number): { readonly left: () => number } {
  let left = total;
  const next = (max: number): void => {
    left -= stream.sendFrom(Math.min(max, left), (_buffer, _offset, length) => length);
    if (left > 0) stream.whenWritable(next);
  };
  stream.whenWritable(next);
  return { left: () => left };
}

describe('frames', () => {
  it('are these bytes', () => {
    const { hostLink, guestLink, host, guest } = pair();
    const near = host.open();
    const far = guest.accept(near.id);
    expect(guestLink.sent.map(hex)).toEqual([`01000000${'04'}00000400`]);
    far.whenWritable(() => far.send(HELLO));
    far.end();
    expect(guestLink.sent.slice(1).map(hex)).toEqual([`01000000${'01'}${hex(HELLO)}`, '0100000002']);
    for (const payload of guestLink.take()) hostLink.onPayload(payload);
    near.abort();
    expect(hostLink.sent.map(hex)).toEqual(['0100000003']);
  });
});

describe('a stream', () => {
  it('lets the host send only after the guest has accepted it', () => {
    const { hostLink, host, guest, settle } = pair();
    const near = host.open();
    near.whenWritable(() => near.send(HELLO));
    expect(hostLink.sent).toEqual([]);
    const seen = sink(guest.accept(near.id));
    settle();
    expect(seen.bytes).toBe(5);
  });

  it('waits for as much credit as its writer can use', () => {
    const { settle, open } = pair();
    const [near, far] = open();
    sink(far, false);
    pour(near, STREAM_WINDOW_BYTES - 10);
    settle();
    const sent: number[] = [];
    near.whenWritable((max) => sent.push(max), 11);
    settle();
    expect(sent).toEqual([]);
    far.consumed(STREAM_GRANT_BYTES);
    settle();
    expect(sent).toEqual([STREAM_GRANT_BYTES + 10]);
  });

  it('keeps an early end until the guest has accepted it', () => {
    const { hostLink, host, guest, settle } = pair();
    const near = host.open();
    near.end();
    expect(hostLink.sent).toEqual([]);
    const seen = sink(guest.accept(near.id));
    settle();
    expect(seen).toMatchObject({ bytes: 0, ended: 1 });
  });

  it.each(['host', 'guest'] as const)('from the %s stops at its window and goes on as bytes are consumed', (side) => {
    const { open, settle } = pair();
    const [near, far] = open();
    const [from, to] = side === 'host' ? [near, far] : [far, near];
    const seen = sink(to, false);
    const source = pour(from, 1_000_000);
    settle();
    expect(seen.bytes).toBe(STREAM_WINDOW_BYTES);
    to.consumed(STREAM_GRANT_BYTES - 1);
    settle();
    expect(seen.bytes).toBe(STREAM_WINDOW_BYTES);
    to.consumed(1);
    settle();
    expect(seen.bytes).toBe(STREAM_WINDOW_BYTES + STREAM_GRANT_BYTES);
    to.onData = (bytes) => {
      seen.bytes += bytes.length;
      to.consumed(bytes.length);
    };
    to.consumed(STREAM_WINDOW_BYTES);
    settle();
    expect([seen.bytes, source.left()]).toEqual([1_000_000, 0]);
  });

  it('that nobody reads does not slow another', () => {
    const { open, settle } = pair();
    const [slow, fast] = [open(), open()];
    const [slowSeen, fastSeen] = [sink(slow[0], false), sink(fast[0])];
    pour(slow[1], 5_000_000);
    pour(fast[1], 5_000_000);
    settle();
    expect([slowSeen.bytes, fastSeen.bytes]).toEqual([STREAM_WINDOW_BYTES, 5_000_000]);
  });

  it('takes turns with others, a frame each', () => {
    const { guestLink, open } = pair();
    const streams = [open(), open(), open()];
    guestLink.congestAfter = 1;
    // Two whole frames each, and a rest.
    for (const [, far] of streams) pour(far, STREAM_WINDOW_BYTES);
    const order: number[] = [];
    for (let round = 0; round < 9; round++) {
      for (const payload of guestLink.take()) if (payload[4] === 1) order.push(payload[0] as number);
      guestLink.onDrain();
    }
    // The first frame went out before the others had anything.
    expect(order.slice(1, 9)).toEqual([1, 2, 3, 1, 2, 3, 2, 3]);
  });

  it('sends grants first when a congestion ends', () => {
    const { guestLink, hostLink, open, settle } = pair();
    const [near, far] = open();
    const [other, otherFar] = open();
    sink(far);
    guestLink.congestAfter = 1;
    pour(otherFar, 300_000);
    pour(near, 200_000);
    for (const payload of hostLink.take()) guestLink.onPayload(payload);
    guestLink.take();
    guestLink.congestAfter = 100;
    guestLink.onDrain();
    expect(guestLink.sent[0]?.[4]).toBe(4);
    settle();
    expect(other.id).toBe(2);
  });

  it('is over when both sides have ended, in any order', () => {
    const { host, guest, open, settle } = pair();
    const [near, far] = open();
    const [seenNear, seenFar] = [sink(near), sink(far)];
    near.end();
    settle();
    expect([host.streamCount, guest.streamCount]).toEqual([1, 1]);
    far.whenWritable(() => far.send(HELLO));
    far.end();
    settle();
    expect([host.streamCount, guest.streamCount]).toEqual([0, 0]);
    expect([seenNear, seenFar]).toMatchObject([
      { bytes: 5, ended: 1 },
      { bytes: 0, ended: 1 },
    ]);
    expect(near.closed && far.closed).toBe(true);
  });

  it.each(['host', 'guest'] as const)('is aborted by the %s while bytes are under way', (side) => {
    const { host, guest, open, settle, hostLink, guestLink } = pair();
    const [near, far] = open();
    const [seenNear, seenFar] = [sink(near), sink(far)];
    pour(near, 200_000);
    pour(far, 200_000);
    (side === 'host' ? near : far).abort();
    settle();
    expect((side === 'host' ? seenFar : seenNear).aborted.map((error) => error.code)).toEqual([Code.Aborted]);
    expect((side === 'host' ? seenNear : seenFar).aborted).toEqual([]);
    expect([host.streamCount, guest.streamCount]).toEqual([0, 0]);
    expect([hostLink.faults, guestLink.faults]).toEqual([[], []]);
  });

  it('that the host gave up before the guest accepted it is aborted then', () => {
    const { host, guest, settle } = pair();
    const near = host.open();
    near.abort();
    const seen = sink(guest.accept(near.id));
    settle();
    expect(seen.aborted.length).toBe(1);
    expect(guest.streamCount).toBe(0);
  });

  it('breaks with the connection', () => {
    const { guest, open, hostLink, host } = pair();
    const [near, far] = open();
    const [seenNear, seenFar] = [sink(near), sink(far)];
    const downs: TskataError[] = [];
    host.onDown = (error) => downs.push(error);
    hostLink.onDown();
    guest.reset(new TskataError(Code.Unavailable, 'reset'));
    expect([seenNear.aborted.length, seenFar.aborted.length, downs.length]).toEqual([1, 1, 1]);
    near.end();
    near.consumed(1);
    near.whenWritable(() => expect.unreachable());
    expect(hostLink.sent).toEqual([]);
    expect(guest.accept(far.id).id).toBe(far.id);
  });

  it('reads straight into the frame, and sends nothing for nothing', () => {
    const { open, settle, guestLink } = pair();
    const [near, far] = open();
    const seen = sink(near);
    far.whenWritable((max) => {
      expect(max).toBe(MAX_STREAM_BODY_BYTES);
      expect(far.sendFrom(max, () => -11)).toBe(-11);
    });
    expect(guestLink.sent).toEqual([]);
    far.whenWritable((max) => expect(far.sendFrom(max, () => 3)).toBe(3));
    settle();
    expect(seen.bytes).toBe(3);
  });

  it('queues no more than it read', () => {
    const { open, guestLink } = pair();
    const [, far] = open();
    const sizes: number[] = [];
    guestLink.sendRecord = (record) => sizes.push(record.buffer.byteLength) > 0;
    for (const count of [1, 1, 100, 40_000, 1]) far.whenWritable((max) => far.sendFrom(max, () => count));
    expect(sizes).toEqual([14, 14, 113, 131_072, 14]);
  });

  it('has a bounded number of companions', () => {
    const { host, guest } = pair();
    for (let index = 0; index < MAX_STREAMS; index++) guest.accept(host.open().id);
    expect(() => host.open()).toThrow(/are open already/);
    expect(() => guest.accept(MAX_STREAMS + 1)).toThrow(/are open already/);
    expect(() => guest.accept(1)).toThrow(/taken/);
    expect(() => pair().guest.accept(0)).toThrow(/taken/);
  });
});

describe('a guest that breaks the rules', () => {
  const frame = (id: number, type: number, body: readonly number[] | Uint8Array = []): Uint8Array => {
    const bytes = Uint8Array.from([0, 0, 0, 0, type, ...body]);
    new DataView(bytes.buffer).setUint32(0, id, true);
    return bytes;
  };

  it.each([
    [
      'sends beyond its credit',
      () => Array.from({ length: 5 }, () => frame(1, 1, new Uint8Array(MAX_STREAM_BODY_BYTES))),
    ],
    ['sends empty data', () => [frame(1, 1)]],
    ['sends after its end', () => [frame(1, 2), frame(1, 1, [1])]],
    ['ends twice', () => [frame(1, 2), frame(1, 2)]],
    ['ends with a body', () => [frame(1, 2, [1])]],
    ['grants nothing', () => [frame(1, 4, [0, 0, 0, 0])]],
    ['grants beyond the window', () => [frame(1, 4, [1, 0, 0, 0])]],
    ['grants 4 GiB', () => [frame(1, 4, [255, 255, 255, 255])]],
    ['grants without a number', () => [frame(1, 4, [1])]],
    ['sends a frame of no type', () => [frame(1, 7)]],
    ['names stream 0', () => [frame(0, 1, [1])]],
    ['names a stream that was never opened', () => [frame(2, 1, [1])]],
    ['sends half a header', () => [Uint8Array.of(1, 0, 0, 0)]],
  ])('%s: the connection ends', (_name, frames) => {
    const { hostLink, open } = pair();
    const [near] = open();
    const seen = sink(near, false);
    for (const payload of frames()) hostLink.onPayload(payload);
    expect(hostLink.faults.length).toBe(1);
    expect(seen.aborted.length).toBe(1);
  });

  it('may finish what it sent on a stream that was given up, but not for ever', () => {
    const { hostLink, open } = pair();
    open()[0].abort();
    for (let count = 0; count < 2048; count++) hostLink.onPayload(frame(1, 1, [1]));
    expect(hostLink.faults).toEqual([]);
    hostLink.onPayload(frame(1, 1, [1]));
    expect(hostLink.faults.length).toBe(1);
  });
});

describe('the guest', () => {
  it('aborts what it does not know, once told, and never answers an abort or a grant', () => {
    const { guestLink, open, guest, host, settle } = pair();
    guestLink.onPayload(Uint8Array.of(9, 0, 0, 0, 1, 65));
    guestLink.onPayload(Uint8Array.of(9, 0, 0, 0, 2));
    guestLink.onPayload(Uint8Array.of(9, 0, 0, 0, 3));
    guestLink.onPayload(Uint8Array.of(9, 0, 0, 0, 4, 1, 0, 0, 0));
    expect(guestLink.take().map(hex)).toEqual(['0900000003', '0900000003']);
    const [near, far] = open();
    far.abort();
    near.whenWritable((max) => near.send(new Uint8Array(max)));
    settle();
    expect([guest.streamCount, host.streamCount]).toEqual([0, 0]);
  });
});
