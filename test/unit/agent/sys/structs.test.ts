import { describe, expect, test } from 'vitest';
import { parseDirents } from '../../../../agent/sys/calls.ts';
import { E, errnoName } from '../../../../agent/sys/errno.ts';
import { check, isErrno, SysError } from '../../../../agent/sys/errors.ts';
import { DT, RESOLVE, SIG } from '../../../../agent/sys/linux.ts';
import { parseRights, rightsMessage } from '../../../../agent/sys/sockets.ts';
import * as structs from '../../../../agent/sys/structs.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));

describe('structures', () => {
  test('open_how', () => {
    expect(hex(structs.openHow(0x80000, 0o644, RESOLVE.IN_ROOT))).toBe(
      '0000080000000000a4010000000000001000000000000000',
    );
  });

  test('mount_attr', () => {
    expect(hex(structs.mountAttr(1, 2, 0x40000, 9))).toBe(
      '01000000000000000200000000000000000004000000000009000000'.concat('00000000'),
    );
  });

  test('timespec', () => {
    expect(hex(structs.timespec(1500.25))).toBe('01000000000000009035d11d00000000');
    expect(hex(structs.timespecNs(3_000_000_007n))).toBe('03000000000000000700000000000000');
  });

  test('signal set', () => {
    expect(hex(structs.sigset([SIG.HUP, SIG.CHLD, 64]))).toBe('0100010000000080');
  });

  test('window size', () => {
    expect(hex(structs.winsize(24, 80))).toBe('1800500000000000');
  });

  test('interface request', () => {
    expect(hex(structs.ifreq('tap0', 0x5002))).toBe(`74617030${'00'.repeat(12)}0250${'00'.repeat(22)}`);
    expect(() => structs.ifreq('a-name-of-16-byt', 0)).toThrow(RangeError);
  });

  test('limits are 64 bits wide', () => {
    expect(hex(structs.rlimit(2n ** 53n + 1n, 2n ** 64n - 1n))).toBe('0100000000002000ffffffffffffffff');
  });

  test('device numbers', () => {
    expect(structs.makeDevice(1, 3)).toBe(0x103);
    expect(structs.makeDevice(259, 70000)).toBe(0x11110370);
    expect(structs.makeDevice(4095, 1048575)).toBe(0xffffffff);
  });

  test('what waitid tells', () => {
    const info = bytesOf(`11000000 00000000 02000000 00000000 d2040000 e8030000 09000000 ${'00'.repeat(100)}`);
    expect(structs.parseSiginfo(info)).toEqual({ code: 2, pid: 1234, status: 9 });
  });

  test('strings end at NUL, words and parts are joined', () => {
    expect(structs.cString(bytesOf('c3a4 00 61'))).toBe('ä');
    expect(structs.cString(bytesOf('6162'))).toBe('ab');
    expect(hex(structs.concat([structs.words16(1, 0x10002), structs.words32(-1), structs.words64(-1n)]))).toBe(
      '01000200ffffffffffffffffffffffff',
    );
  });
});

describe('socket addresses', () => {
  test.each([
    ['a path', { family: 'unix', path: '/run/x' }, '01002f72756e2f7800'],
    ['an abstract name', { family: 'unix', path: '\0ab' }, '0100006162'],
    ['IPv4', { family: 'inet', address: Uint8Array.of(10, 0, 0, 1), port: 80 }, '020000500a0000010000000000000000'],
    ['netlink', { family: 'netlink', port: 5, groups: 2 }, '100000000500000002000000'],
    ['vsock', { family: 'vsock', cid: 2, port: 1024 }, '28000000000400000200000000000000'],
  ] as const)('%s', (_name, address, bytes) => {
    expect(hex(structs.sockaddr(address))).toBe(bytes);
    expect(structs.parseSockaddr(bytesOf(bytes), bytes.length / 2)).toEqual(address);
  });

  test('IPv6 with a scope', () => {
    const address = {
      family: 'inet6',
      address: Uint8Array.from({ length: 16 }, (_, at) => at),
      port: 443,
      scope: 3,
    } as const;
    const bytes = structs.sockaddr(address);
    expect(hex(bytes)).toBe('0a0001bb00000000000102030405060708090a0b0c0d0e0f03000000');
    expect(structs.parseSockaddr(bytes, bytes.length)).toEqual(address);
  });

  test('wrong ones are refused', () => {
    expect(() => structs.sockaddr({ family: 'unix', path: 'x'.repeat(108) })).toThrow('108 bytes, must be 1 to 107');
    expect(() => structs.sockaddr({ family: 'unix', path: '' })).toThrow(RangeError);
    expect(() => structs.sockaddr({ family: 'inet', address: new Uint8Array(3), port: 1 })).toThrow(RangeError);
    expect(() => structs.sockaddr({ family: 'inet6', address: new Uint8Array(4), port: 1 })).toThrow(RangeError);
    expect(structs.parseSockaddr(bytesOf('ff00'), 2)).toBeUndefined();
    expect(structs.parseSockaddr(bytesOf('02'), 1)).toBeUndefined();
  });
});

describe('control messages', () => {
  test('carry descriptors', () => {
    const message = rightsMessage([5, 6, 7]);
    expect(hex(message)).toBe('1c0000000000000001000000010000000500000006000000070000000000'.concat('0000'));
    expect(parseRights(message)).toEqual([5, 6, 7]);
    expect(parseRights(rightsMessage([9]))).toEqual([9]);
  });

  test('of another kind, or cut off, carry none', () => {
    expect(parseRights(bytesOf('14000000000000000100000002000000 05000000'))).toEqual([]);
    expect(parseRights(bytesOf('ff000000000000000100000001000000 05000000'))).toEqual([]);
    expect(parseRights(new Uint8Array(16))).toEqual([]);
  });
});

test('directory entries', () => {
  const entry = (inode: number, type: number, name: string): Uint8Array => {
    const bytes = new Uint8Array(Math.ceil((19 + name.length + 1) / 8) * 8);
    const view = structs.viewOf(bytes);
    view.setBigUint64(0, BigInt(inode), true);
    view.setUint16(16, bytes.length, true);
    bytes[18] = type;
    bytes.set(structs.utf8(name), 19);
    return bytes;
  };
  const block = structs.concat([
    entry(1, DT.DIR, '.'),
    entry(2, DT.DIR, '..'),
    entry(3, DT.REG, 'file'),
    entry(4, DT.LNK, 'a-longer-name'),
  ]);
  expect(parseDirents(block)).toEqual([
    { name: 'file', type: DT.REG, inode: 3n },
    { name: 'a-longer-name', type: DT.LNK, inode: 4n },
  ]);
  expect(parseDirents(block.subarray(0, block.length - 1))).toHaveLength(1);
});

describe('errors', () => {
  test('name operation, subject and error', () => {
    expect(() => check(-E.ENOENT, 'open', '/x')).toThrow(new SysError('open', '/x', E.ENOENT));
    expect(new SysError('open', '/x', E.ENOENT).message).toBe('open /x: ENOENT');
    expect(new SysError('reboot', '', 4000)).toMatchObject({
      message: 'reboot: errno 4000',
      code: 'errno 4000',
      errno: 4000,
    });
    expect(check(7, 'open')).toBe(7);
    expect(errnoName(E.EAGAIN)).toBe('EAGAIN');
  });

  test('are recognised', () => {
    const error = new SysError('open', '/x', E.ENOENT);
    expect(isErrno(error, E.EPERM, E.ENOENT)).toBe(true);
    expect(isErrno(error, E.EPERM)).toBe(false);
    expect(isErrno(new Error('x'), E.EPERM)).toBe(false);
  });
});
