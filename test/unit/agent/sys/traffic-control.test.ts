import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { attribute, nested, netlinkMessage } from '../../../../agent/sys/netlink.ts';
import { RecorderSys } from '../../../../agent/sys/recorder.ts';
import { concat, words32 } from '../../../../agent/sys/structs.ts';
import { redirectPayload, TrafficControl } from '../../../../agent/sys/traffic-control.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Answers the next dump with messages of one type. */
function kernel(type: number, payloads: readonly Uint8Array[]): RecorderSys {
  const sys = new RecorderSys();
  sys.onRead = (_fd, buffer, offset) => {
    const messages = payloads.map((payload) => netlinkMessage(type, 2, 1, payload));
    const answer = concat([...messages, netlinkMessage(3, 2, 1, words32(0))]);
    buffer.set(answer, offset);
    return answer.length;
  };
  return sys;
}

const header = (index: number, handle: number, parent: number, info: number) => words32(0, index, handle, parent, info);

describe('redirection', () => {
  test('is what tc says for "prio 29811 protocol all u32 match u32 0 0 action mirred egress redirect"', () => {
    const said = [
      '0000000003000000000000000000ffff000373740800010075333200600002003800070034000100',
      '0b0001006d6972726564000024000280200002000000000000000000040000000000000000000000',
      '010000000200000024000500010001000000000000000000000000000000000000000000',
      '0000000000000000',
    ].join('');
    expect(hex(redirectPayload(3, 2, 29_811))).toBe(said);
  });
});

describe('dumps', () => {
  test('only ingress disciplines count', () => {
    const sys = kernel(36, [
      concat([header(2, 0xffff_0000, 0xffff_fff1, 0), attribute(1, 'ingress')]),
      concat([header(2, 0, 0xffff_ffff, 0), attribute(1, 'noqueue')]),
      concat([header(3, 0xffff_0000, 0xffff_fff1, 0), attribute(1, 'clsact')]),
      new Uint8Array(4),
    ]);
    expect(new TrafficControl(sys).ingressQdiscs()).toEqual([
      { index: 2, kind: 'ingress' },
      { index: 3, kind: 'clsact' },
    ]);
  });

  test('filters say where packets go, and whose they are', () => {
    const ofOthers = concat([header(2, 0, 0xffff_0000, (5 << 16) | 3), attribute(1, 'bpf'), nested(2)]);
    const elsewhere = redirectPayload(7, 9, 1);
    const table = concat([header(2, 0, 0xffff_0000, 0), attribute(1, 'u32'), nested(2, attribute(1, 1))]);
    const sys = kernel(44, [redirectPayload(2, 9, 29_811), ofOthers, elsewhere, table, new Uint8Array(8)]);
    expect(new TrafficControl(sys).ingressFilters(2)).toEqual([
      { priority: 29_811, target: 9 },
      { priority: 5, target: undefined },
    ]);
  });

  test('are read without a throw, whatever is in them', () => {
    // The kernel pads its messages.
    const padded = fc.uint8Array({ maxLength: 120 }).map((bytes) => bytes.subarray(0, bytes.length & ~3));
    const payloads = fc.array(padded, { maxLength: 5 });
    fc.assert(
      fc.property(payloads, (list) => {
        new TrafficControl(kernel(36, list)).ingressQdiscs();
        new TrafficControl(kernel(44, list)).ingressFilters(0);
      }),
      { seed: 42, numRuns: 500 },
    );
  });

  test('a refusal names the interface', () => {
    const sys = new RecorderSys();
    sys.onRead = (_fd, buffer, offset) => {
      const answer = netlinkMessage(2, 0, 1, words32(-17));
      buffer.set(answer, offset);
      return answer.length;
    };
    expect(() => new TrafficControl(sys).addIngress(2, 'eth0')).toThrow(
      'add ingress queueing discipline to eth0: EEXIST',
    );
  });
});
