/**
 * Every decoder of the contract against arbitrary bytes: it decodes or throws a TskataError, never hangs, and never
 * holds much more than it was given. The seed is fixed; a failing case becomes a unit test.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Channel } from '../../agent/protocol/channel.ts';
import { TskataError } from '../../agent/protocol/errors.ts';
import * as agentMessages from '../../agent/protocol/generated/agent.ts';
import * as helperMessages from '../../agent/protocol/generated/helper.ts';
import * as ttrpcMessages from '../../agent/protocol/generated/ttrpc.ts';
import { GuestLink } from '../../agent/protocol/link/guest.ts';
import { HostLink } from '../../agent/protocol/link/host.ts';
import type { MessageType } from '../../agent/protocol/message.ts';
import { bareFrame, creditFrame, frameRoom } from '../../agent/protocol/mux/frame.ts';
import { GuestMux, HostMux } from '../../agent/protocol/mux/mux.ts';
import { BYTES_PAYLOAD_BYTES } from '../../agent/protocol/serve.ts';
import { bind } from '../../agent/protocol/service.ts';
import { encodeHeader } from '../../agent/protocol/ttrpc/frame.ts';
import { ChannelPipe } from '../../agent/protocol/ttrpc/pipe.ts';
import { TtrpcServer } from '../../agent/protocol/ttrpc/server.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import * as cgroupMessages from '../../shim/task/generated/cgroups.ts';
import * as eventMessages from '../../shim/task/generated/events.ts';
import * as taskMessages from '../../shim/task/generated/task.ts';

const SETTINGS = { seed: 2_025, numRuns: 3000 };

function codecsOf(module: Record<string, unknown>): MessageType<unknown>[] {
  return Object.values(module).filter(
    (value): value is MessageType<unknown> => typeof (value as MessageType<unknown>).decode === 'function',
  );
}

const CODECS = [agentMessages, helperMessages, ttrpcMessages, cgroupMessages, eventMessages, taskMessages].flatMap(
  (module) => codecsOf(module),
);

/** Bytes that look like a message more often than noise does: small field numbers, plausible lengths. */
const fieldBytes = fc.oneof(
  fc
    .tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 7 }))
    .map(([number, type]) => [((number << 3) | type) & 0x7f]),
  fc.integer({ min: 0, max: 12 }).map((length) => [length]),
  fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 12 }),
);
const messageBytes = fc.array(fieldBytes, { maxLength: 60 }).map((parts) => Uint8Array.from(parts.flat()));

class Tape implements Channel {
  onData: (bytes: Uint8Array) => void = () => {};
  onDrain: () => void = () => {};
  onEnd: (error?: Error) => void = () => {};
  writtenBytes = 0;
  closed = false;
  write(bytes: Uint8Array): boolean {
    this.writtenBytes += bytes.length;
    return true;
  }
  setReading(): void {}
  close(): void {
    this.closed = true;
  }
}

/** Feeds bytes in pieces; the array of each is spoiled afterwards, as a channel may do. */
function feed(tape: Tape, bytes: Uint8Array, pieces: readonly number[]): void {
  let at = 0;
  for (let index = 0; at < bytes.length && !tape.closed; index++) {
    const count = pieces.length === 0 ? bytes.length : Math.max(1, pieces[index % pieces.length] as number);
    const piece = bytes.slice(at, at + count);
    tape.onData(piece);
    piece.fill(0xee);
    at += count;
  }
}

const pieces = fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 6 });

describe('message decoders', () => {
  it('decode or throw a TskataError, and what they decode can be encoded and decoded again', () => {
    fc.assert(
      fc.property(
        fc.nat(CODECS.length - 1),
        fc.oneof(messageBytes, fc.uint8Array({ maxLength: 200 })),
        (index, bytes) => {
          const codec = CODECS[index] as MessageType<object>;
          let decoded: object;
          try {
            decoded = codec.decode(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(TskataError);
            return;
          }
          expect(codec.decode(codec.encode(decoded as never))).toEqual(decoded);
        },
      ),
      { ...SETTINGS, numRuns: 20_000 },
    );
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

describe('the frame reader', () => {
  it('delivers what was sent, in any pieces', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 90 }), { maxLength: 8 }), pieces, (messages, sizes) => {
        const tape = new Tape();
        const pipe = new ChannelPipe(tape, 64);
        const seen: (string | number)[] = [];
        pipe.onFrame = (_header, message) => seen.push(Buffer.from(message).toString('hex'));
        pipe.onOversized = (header) => seen.push(header.length);
        const frames = messages.map((message, index) =>
          Buffer.concat([encodeHeader(message.length, index, 1), message]),
        );
        feed(tape, Buffer.concat(frames), sizes);
        expect(seen).toEqual(
          messages.map((message) => (message.length > 64 ? message.length : Buffer.from(message).toString('hex'))),
        );
      }),
      SETTINGS,
    );
  });

  it('takes any bytes, and a server on it stays bounded', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(messageBytes, frameOf(messageBytes)), { maxLength: 20 }),
        pieces,
        (parts, sizes) => {
          const tape = new Tape();
          const server = new TtrpcServer(
            new ChannelPipe(tape, 256),
            [bind(agentMessages.Agent, { hello: () => ({}) })],
            nodeClock,
          );
          const bytes = Buffer.concat(parts);
          feed(tape, bytes, sizes);
          // An error names what was asked for, so an answer may be longer than its request, by a sentence.
          expect(tape.writtenBytes).toBeLessThanOrEqual(bytes.length * 12 + 400);
          server.close();
        },
      ),
      SETTINGS,
    );
  });
});

function frameOf(bodies: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  return fc
    .tuple(bodies, fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 4 }), fc.boolean())
    .map(([body, id, type, lie]) => Buffer.concat([encodeHeader(body.length + (lie ? 3 : 0), id, type), body]));
}

/** A connected pair of links, and what the host has sent so far. */
function greeted(): {
  readonly host: HostLink;
  readonly hostTape: Tape;
  readonly guest: GuestLink;
  readonly guestTape: Tape;
  readonly greeting: Uint8Array;
} {
  const [hostTape, guestTape] = [new Tape(), new Tape()];
  const sent: Uint8Array[] = [];
  hostTape.write = (bytes) => sent.push(bytes.slice()) > 0;
  const host = new HostLink(hostTape, BYTES_PAYLOAD_BYTES);
  const guest = new GuestLink(guestTape, BYTES_PAYLOAD_BYTES);
  host.reset({ random: (count) => new Uint8Array(count).fill(7), fresh: true });
  const greeting = Buffer.concat(sent);
  const answers: Uint8Array[] = [];
  guestTape.write = (bytes) => answers.push(bytes.slice()) > 0;
  guestTape.onData(greeting);
  hostTape.onData(Buffer.concat(answers));
  guestTape.write = Tape.prototype.write;
  hostTape.write = Tape.prototype.write;
  return { host, hostTape, guest, guestTape, greeting };
}

describe('the links', () => {
  it('take any bytes; the guest understands the next connection, the host ends or waits', () => {
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      // Beginnings of records, whole ones with a wrong tag, and pieces of a reset.
      fc
        .tuple(fc.constantFrom(0, 1, 2, 3), fc.nat(40), fc.uint8Array({ maxLength: 60 }))
        .map(([kind, length, rest]) => Uint8Array.from([kind, length, 0, 0, ...rest])),
      fc.nat(48).map((length) => greeted().greeting.slice(0, length)),
    );
    fc.assert(
      fc.property(fc.array(noise, { maxLength: 6 }), pieces, (parts, sizes) => {
        const { guest, guestTape, hostTape } = greeted();
        const bytes = Buffer.concat(parts);
        feed(guestTape, bytes, sizes);
        let resets = 0;
        guest.onReset = () => resets++;
        // What a later connection of the host begins with.
        guestTape.onData(new Uint8Array(BYTES_PAYLOAD_BYTES + 8));
        guestTape.onData(greeted().greeting);
        expect(resets).toBeGreaterThanOrEqual(1);
        feed(hostTape, bytes, sizes);
      }),
      { ...SETTINGS, numRuns: 1500 },
    );
  });
});

describe('the streams', () => {
  it('take any frames on both sides', () => {
    const frames = fc.array(
      fc.oneof(
        fc
          .tuple(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 0, max: 5 }))
          .map(([id, type]) => bareFrame(id, type)),
        fc
          .tuple(fc.integer({ min: 0, max: 4 }), fc.constantFrom(0, 1, 65_536, 262_144, 4_294_967_295))
          .map(([id, count]) => creditFrame(id, count)),
        fc.tuple(fc.integer({ min: 0, max: 4 }), fc.nat(300)).map(([id, length]) => frameRoom(id, 1, length)),
        fc.uint8Array({ maxLength: 20 }).map((bytes) => Uint8Array.from([0, 0, 0, 0, ...bytes, 0, 0, 0, 0])),
      ),
      { maxLength: 30 },
    );
    fc.assert(
      fc.property(frames, fc.array(fc.nat(5), { maxLength: 6 }), (records, acts) => {
        const { host, guest, guestTape, hostTape } = greeted();
        const [hostMux, guestMux] = [new HostMux(host), new GuestMux(guest)];
        const streams = [hostMux.open(), hostMux.open(), guestMux.accept(1), guestMux.accept(3)];
        for (const stream of streams) stream.whenWritable((max) => stream.send(new Uint8Array(Math.min(max, 10))));
        for (const [index, record] of records.entries()) {
          const payload = record.subarray(4, record.length - 4);
          host.onPayload(payload);
          guest.onPayload(payload);
          const act = acts[index % Math.max(1, acts.length)] ?? 0;
          const stream = streams[act % 4];
          if (act === 4) stream?.abort();
          else if (act === 5) stream?.end();
        }
        expect(hostMux.streamCount).toBeLessThanOrEqual(2);
        expect(guestMux.streamCount).toBeLessThanOrEqual(2);
        expect(guestTape.writtenBytes + hostTape.writtenBytes).toBeLessThan(4096);
      }),
      SETTINGS,
    );
  });
});
