import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BpfAssembler } from '../../../../agent/sys/bpf.ts';
import { parseDirents } from '../../../../agent/sys/calls.ts';
import { formatIp, formatMac, parseIp, parseMac, parsePrefixed } from '../../../../agent/sys/ip.ts';
import {
  attribute,
  NetlinkMonitor,
  nested,
  netlinkMessage,
  parseAttributes,
  parseNetlink,
  RTMGRP,
} from '../../../../agent/sys/netlink.ts';
import { RecorderSys } from '../../../../agent/sys/recorder.ts';
import { RouteSocket } from '../../../../agent/sys/rtnetlink.ts';
import { parseRights } from '../../../../agent/sys/sockets.ts';
import {
  concat,
  parseSiginfo,
  parseSockaddr,
  parseStatx,
  SIGINFO_BYTES,
  STATX_BYTES,
  words32,
} from '../../../../agent/sys/structs.ts';
import { ManualLoop } from '../../../helpers/manual-loop.ts';

const SEED = 42;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('netlink messages', () => {
  test('attributes are padded and nest', () => {
    expect(hex(attribute(3, 'eth0'))).toBe('090003006574683000000000');
    expect(hex(attribute(4, 1400))).toBe('0800040078050000');
    expect(hex(nested(18, attribute(1, 'tun')))).toBe('0c0012000800010074756e00');
  });

  test('attributes are found again, without their flag bits', () => {
    const parsed = parseAttributes(concat([attribute(3, 'lo'), attribute(0x8000 | 18, new Uint8Array(0))]));
    expect([...parsed.keys()]).toEqual([3, 18]);
  });

  test('an answer ends with an error number, and only its own sequence counts', () => {
    const other = netlinkMessage(16, 0, 8, words32(1));
    const data = netlinkMessage(16, 2, 9, words32(7));
    const done = netlinkMessage(3, 2, 9, words32(0));
    const refused = netlinkMessage(2, 0, 9, words32(-17));
    expect(parseNetlink(concat([other, data]), 9)).toEqual({ messages: [{ type: 16, payload: words32(7) }] });
    expect(parseNetlink(concat([data, done]), 9)).toMatchObject({ end: 0 });
    expect(parseNetlink(refused, 9)).toEqual({ messages: [], end: 17 });
  });

  test('a refusal names what was asked', () => {
    const sys = new RecorderSys();
    sys.onRead = (_fd, buffer, offset) => {
      const answer = netlinkMessage(2, 0, 1, words32(-101));
      buffer.set(answer, offset);
      return answer.length;
    };
    const routes = new RouteSocket(sys);
    const gateway = Uint8Array.of(8, 8, 8, 8);
    expect(() => routes.addRoute({ family: 4, gateway, index: 2 }, 'default via 8.8.8.8')).toThrow(
      'add route default via 8.8.8.8: ENETUNREACH',
    );
    expect(sys.names).toEqual(['socket', 'bind', 'write', 'read']);
    const request = sys.calls[2]?.args[1] as Uint8Array;
    // Header, rtmsg (main table, boot, universe, unicast), gateway, interface.
    expect(hex(request)).toBe(
      [
        '2c00000018000505',
        '0100000000000000',
        '02000000fe030001',
        '00000000',
        '0800050008080808',
        '0800040002000000',
      ].join(''),
    );
  });
});

describe('changes', () => {
  test('are told once for all messages that wait, and the socket is given back', () => {
    const sys = new RecorderSys().answer('socket', 9);
    const loop = new ManualLoop();
    // A message, then lost ones (ENOBUFS).
    const answers = [40, -105, -11];
    sys.onRead = () => answers.shift() ?? -11;
    let told = 0;
    const monitor = new NetlinkMonitor(sys, loop, RTMGRP.LINK | RTMGRP.IPV6_ROUTE, () => {
      told += 1;
    });
    const bound = sys.calls.find(({ name }) => name === 'bind')?.args[1] as Uint8Array;
    expect(hex(bound)).toBe('100000000000000001040000');
    loop.fire(9);
    expect(told).toBe(1);
    monitor.close();
    expect([loop.watches.size, sys.names.at(-1)]).toEqual([0, 'close']);
  });
});

describe('addresses', () => {
  test.each([
    ['10.0.0.1', '0a000001'],
    ['255.255.255.255', 'ffffffff'],
    ['::', '00'.repeat(16)],
    ['::1', `${'00'.repeat(15)}01`],
    ['fe80::1:2', `fe80${'00'.repeat(10)}00010002`],
    ['1:2:3:4:5:6:7:8', '00010002000300040005000600070008'],
    ['::ffff:10.0.0.1', `${'00'.repeat(10)}ffff0a000001`],
    ['1::', `0001${'00'.repeat(14)}`],
  ])('%s', (text, bytes) => {
    expect(hex(parseIp(text) ?? new Uint8Array(0))).toBe(bytes);
  });

  test.each([
    '',
    '1',
    '1.2.3',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4.5',
    ':',
    ':::',
    '1:2',
    '1::2::3',
    '1:2:3:4:5:6:7:8:9',
    '12345::',
    'g::',
    '1.2.3.4::',
    '::1%eth0',
    '1:2:3:4:5:6:7::8',
  ])('%s is none', (text) => {
    expect(parseIp(text)).toBeUndefined();
  });

  test('prefixes', () => {
    expect(parsePrefixed('10.1.2.3/24')).toEqual({ address: Uint8Array.of(10, 1, 2, 3), prefix: 24 });
    expect(parsePrefixed('::1')?.prefix).toBe(128);
    for (const text of ['10.0.0.1/33', '::1/129', '10.0.0.1/', '10.0.0.1/+1', '10.0.0.1/01', '/8']) {
      expect(parsePrefixed(text)).toBeUndefined();
    }
  });

  test('hardware addresses', () => {
    const mac = parseMac('02:00:00:Aa:bb:cc');
    expect(mac === undefined ? '' : formatMac(mac)).toBe('02:00:00:aa:bb:cc');
    expect(parseMac('02:00:00:aa:bb')).toBeUndefined();
  });

  test('every address survives its text', () => {
    const address = fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
    );
    fc.assert(
      fc.property(address, (bytes) => {
        expect(parseIp(formatIp(bytes))).toEqual(bytes);
      }),
      { seed: SEED },
    );
  });
});

describe('decoders', () => {
  test('never throw and never read beyond, whatever the kernel says', () => {
    const bytes = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(bytes, fc.nat(400), (data, length) => {
        parseAttributes(data);
        parseNetlink(data, 0);
        parseDirents(data);
        parseRights(data);
        parseSockaddr(data, Math.min(length, data.length));
        parseStatx(concat([data, new Uint8Array(STATX_BYTES)]));
        parseSiginfo(concat([data, new Uint8Array(SIGINFO_BYTES)]));
      }),
      { seed: SEED, numRuns: 2000 },
    );
  });
});

describe('eBPF', () => {
  test('instructions and forward jumps', () => {
    const asm = new BpfAssembler();
    const deny = asm.label();
    asm.load32(2, 1, 4).jumpIfNotEqual(2, 1, deny).exit(1).place(deny).exit(0);
    expect(hex(asm.assemble())).toBe(
      [
        '6112040000000000',
        '5602020001000000',
        'b700000001000000',
        '9500000000000000',
        'b700000000000000',
        '9500000000000000',
      ].join(''),
    );
  });

  test('a label without a place is refused', () => {
    const asm = new BpfAssembler();
    expect(() => asm.jump(asm.label()).assemble()).toThrow(RangeError);
  });
});
