/** The record layer: golden bytes, and every cut that a short conversation can have. */
import { describe, expect, it } from 'vitest';
import type { Channel } from '../../../../agent/protocol/channel.ts';
import { GuestLink } from '../../../../agent/protocol/link/guest.ts';
import { HostLink } from '../../../../agent/protocol/link/host.ts';
import { Finder, isEpoch } from '../../../../agent/protocol/link/record.ts';

const MAX = 40;

/** A channel that is written by hand and remembers what it was told. */
class Tape implements Channel {
  onData: (bytes: Uint8Array) => void = () => {};
  onDrain: () => void = () => {};
  onEnd: (error?: Error) => void = () => {};
  written: number[] = [];
  closed = false;
  write(bytes: Uint8Array): boolean {
    this.written.push(...bytes);
    return true;
  }
  setReading(): void {}
  close(): void {
    this.closed = true;
  }
  take(): Uint8Array {
    const bytes = Uint8Array.from(this.written);
    this.written = [];
    return bytes;
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const bytesOf = (value: string): Uint8Array => new Uint8Array(Buffer.from(value));
const EMPTY = new Uint8Array(0);

/** "Random" bytes that are different in every connection; some of the epoch's would be zero. */
function source(connection: number): (count: number) => Uint8Array {
  return (count) =>
    Uint8Array.from({ length: count }, (_value, index) => (count === 4 && index < 2 ? 0 : connection + index));
}

/** What a host says on a new connection, up to `payloads`. */
function speech(connection: number, payloads: readonly string[], fresh = false): Uint8Array {
  const tape = new Tape();
  const host = new HostLink(tape, MAX);
  host.reset({ random: source(connection), fresh });
  const greeting = tape.take();
  const guest = new Tape();
  new GuestLink(guest, MAX);
  guest.onData(greeting);
  tape.onData(guest.take());
  for (const payload of payloads) host.send(bytesOf(payload), EMPTY);
  return new Uint8Array([...greeting, ...tape.take()]);
}

function listen(): { readonly tape: Tape; readonly link: GuestLink; readonly heard: string[] } {
  const tape = new Tape();
  const link = new GuestLink(tape, MAX);
  const heard: string[] = [];
  link.onPayload = (payload) => heard.push(text(payload));
  link.onReset = () => heard.push('reset');
  return { tape, link, heard };
}

describe('records', () => {
  it('are these bytes', () => {
    expect(hex(speech(0x10, ['hello'], true))).toBe(
      `02240000${'9e5bd127c384f61da760eb3c9548d972'}${'101112131415161718191a1b1c1d1e1f'}01011213${'01011213'}` +
        `01050000${hex(bytesOf('hello'))}01011213`,
    );
    const { tape } = listen();
    tape.onData(speech(0x10, [], true));
    expect(hex(tape.take())).toBe(
      `03200000${'63af18e45db279c6318af40bde5792ec'}${'101112131415161718191a1b1c1d1e1f'}01011213`,
    );
  });

  it('begin with padding for the largest record unless the guest is fresh', () => {
    const padded = speech(1, []);
    expect(padded.length - speech(1, [], true).length).toBe(MAX + 8);
    expect(padded.subarray(0, MAX + 8).every((byte) => byte === 0)).toBe(true);
  });

  it('have epochs without a zero byte', () => {
    expect(isEpoch(0x01010101)).toBe(true);
    for (const epoch of [0, 0x00010101, 0x01000101, 0x01010001, 0x01010100]) expect(isEpoch(epoch)).toBe(false);
  });
});

describe("the guest's end", () => {
  const first = speech(0x20, ['one', '', 'x'.repeat(MAX)]);
  const second = speech(0x40, ['two', 'three']);
  const whole = ['reset', 'one', '', 'x'.repeat(MAX)];
  const again = ['reset', 'two', 'three'];

  it('hears nothing before a reset', () => {
    const { tape, heard } = listen();
    tape.onData(Uint8Array.of(1, 1, 0, 0, 65, 9, 9, 9, 9));
    expect(heard).toEqual([]);
  });

  it('understands a new connection after a cut at any byte, and never a half record', () => {
    for (let cut = 0; cut <= first.length; cut++) {
      const { tape, heard } = listen();
      tape.onData(first.slice(0, cut));
      const before = [...heard];
      tape.onData(second);
      expect(before, `cut at ${cut}`).toEqual(whole.slice(0, before.length));
      expect(heard.slice(before.length), `cut at ${cut}`).toEqual(again);
    }
  });

  it('understands it after two cuts at any two bytes, byte by byte', () => {
    for (let early = 0; early <= first.length; early += 3) {
      for (let late = 0; late <= second.length; late += 2) {
        const { tape, heard } = listen();
        tape.onData(first.slice(0, early));
        const before = heard.length;
        for (const byte of second.subarray(0, late)) tape.onData(Uint8Array.of(byte));
        const between = heard.slice(before);
        const third = heard.length;
        tape.onData(speech(0x60, ['four']));
        expect(between).toEqual(again.slice(0, between.length));
        expect(heard.slice(third)).toEqual(['reset', 'four']);
      }
    }
  });

  it('drops a record whose tag padding completed, even if three of its four bytes came', () => {
    const { tape, link, heard } = listen();
    tape.onData(first.slice(0, first.length - 1));
    tape.onData(second);
    expect(heard.filter((entry) => entry.startsWith('x'))).toEqual([]);
    expect(link.dropped).toBe(1);
  });

  it('ignores the host after nonsense until its next reset, wherever that begins', () => {
    for (const nonsense of [[77], [1, 255, 255, 255], [2, 36, 0, 0, 0x9e, 0x5b], [9, ...first.slice(0, 30)]]) {
      const { tape, link, heard } = listen();
      tape.onData(first);
      let down = 0;
      link.onDown = () => down++;
      tape.onData(Uint8Array.from(nonsense));
      const before = heard.length;
      for (const byte of second) tape.onData(Uint8Array.of(byte));
      expect(heard.slice(before)).toEqual(again);
      expect(down).toBeLessThanOrEqual(1);
    }
  });

  it('sends nothing between a failure and the next reset', () => {
    const { tape, link } = listen();
    tape.onData(first);
    tape.take();
    link.fail('test');
    link.send(bytesOf('a'), EMPTY);
    expect(tape.take().length).toBe(0);
  });
});

describe("the host's end", () => {
  function connect(): {
    readonly tape: Tape;
    readonly link: HostLink;
    readonly heard: string[];
    readonly guest: Tape;
    readonly far: GuestLink;
  } {
    const tape = new Tape();
    const link = new HostLink(tape, MAX);
    const heard: string[] = [];
    link.onPayload = (payload) => heard.push(text(payload));
    link.onUp = () => heard.push('up');
    link.onDown = (error) => heard.push(error?.message ?? 'end');
    link.reset({ random: source(0x70), fresh: true });
    const guest = new Tape();
    const far = new GuestLink(guest, MAX);
    guest.onData(tape.take());
    return { tape, link, heard, guest, far };
  }

  it('finds its answer behind any stale bytes, also behind a piece of it', () => {
    const { guest } = connect();
    const ack = guest.take();
    const old = listen();
    old.tape.onData(speech(0x20, []));
    old.link.send(bytesOf('stale'), EMPTY);
    const stale = old.tape.take();
    for (const prefix of [
      EMPTY,
      ...Array.from(stale, (_byte, index) => stale.slice(0, index)),
      ack.slice(0, 30),
      ack.slice(0, 3),
    ]) {
      const { tape, heard, guest: other, far } = connect();
      far.send(bytesOf('hi'), EMPTY);
      const stream = Uint8Array.from([...prefix, ...other.take()]);
      for (const byte of stream) tape.onData(Uint8Array.of(byte));
      expect(heard).toEqual(['up', 'hi']);
    }
  });

  it.each([
    ['a wrong tag', [1, 1, 0, 0, 65, 1, 2, 3, 4]],
    ['a second acknowledgement', [3, 0, 0, 0, 1, 1, 0x72, 0x73]],
    ['a reset', [2, 0, 0, 0, 1, 1, 0x72, 0x73]],
    ['padding', [0]],
    ['a kind that is none', [7]],
    ['a record that is too large', [1, MAX + 1, 0, 0]],
  ])('ends at %s', (_name, bytes) => {
    const { tape, heard, guest } = connect();
    tape.onData(guest.take());
    tape.onData(Uint8Array.from(bytes));
    tape.onData(Uint8Array.from(bytes));
    expect(heard).toEqual(['up', expect.stringMatching(/^link: /)]);
    expect(tape.closed).toBe(true);
  });
});

describe('the finder', () => {
  it('finds overlapping beginnings across pieces', () => {
    const finder = new Finder(bytesOf('aabaaac'));
    const haystack = bytesOf('aabaabaaabaaacxx');
    let end = -1;
    for (let at = 0; at < haystack.length && end < 0; at++)
      if (finder.find(haystack.subarray(at, at + 1), 0) === 1) end = at + 1;
    expect(end).toBe(14);
  });
});
