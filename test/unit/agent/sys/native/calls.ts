/** Cases: raw calls and their arguments, files, UTF-8. */
import {
  mkdir,
  open,
  readDirectory,
  readFile,
  readFileBytes,
  readlink,
  stat,
  symlink,
  writeFile,
} from '../../../../../agent/sys/calls.ts';
import { isErrno } from '../../../../../agent/sys/errors.ts';
import { AT, DT, O, S, SOCK } from '../../../../../agent/sys/linux.ts';
import { receiveDescriptors, sendDescriptors, socketpair } from '../../../../../agent/sys/sockets.ts';
import { text, utf8, viewOf } from '../../../../../agent/sys/structs.ts';
import type { SysArg } from '../../../../../agent/sys/sys.ts';
import { SYS } from '../../../../../agent/sys/syscalls.ts';
import { assert, type Case, E, equal, sys, throwsTypeError } from './kit.ts';

const wrong = (value: unknown): SysArg => value as SysArg;

export const callCases: Record<string, Case> = {
  arguments() {
    const buffer = new Uint8Array(16);
    throwsTypeError(() => sys.call(wrong('read') as number), 'a name for a number');
    throwsTypeError(() => sys.call(-1), 'a negative number');
    throwsTypeError(() => sys.call(1.5), 'a fraction');
    throwsTypeError(() => sys.call(0, 1, 2, 3, 4, 5, 6, 7), 'seven arguments');
    for (const value of [undefined, true, {}, [], Number.NaN, 2 ** 60, () => 0, new DataView(new ArrayBuffer(8))]) {
      throwsTypeError(() => sys.call(SYS.getpid, wrong(value)), `argument ${String(value)}`);
    }
    throwsTypeError(() => sys.call(SYS.chdir, 'a\0b'), 'NUL in a string');
    throwsTypeError(() => sys.read(0, buffer, 0, 17), 'length beyond the buffer');
    throwsTypeError(() => sys.read(0, buffer, 17, 0), 'offset beyond the buffer');
    throwsTypeError(() => sys.read(0, buffer, -1, 1), 'negative offset');
    throwsTypeError(() => sys.read(0, buffer, 8, 2 ** 53), 'huge length');
    throwsTypeError(() => sys.read(0, wrong('text') as Uint8Array, 0, 1), 'string for a buffer');
    throwsTypeError(() => sys.write2(1, buffer, wrong(null) as Uint8Array), 'null for a buffer');
    throwsTypeError(() => sys.address(wrong(5) as Uint8Array), 'number for a buffer');
    equal(sys.call(SYS.close, -1), -E.EBADF, 'close(-1)');
    equal(sys.call(SYS.getpid), sys.call(SYS.getppid) < 0 ? 0 : sys.call(SYS.getpid), 'getpid');
    const big = new Uint8Array(8);
    equal(sys.call(SYS.prctl, 2, big, 0, 0, 0), 0, 'PR_GET_PDEATHSIG');
    equal(sys.call(SYS.lseek, 0, 0xffffffffffffffffn, 0) < 0, true, 'bigint keeps its bits');
    const view = new Uint8Array(buffer.buffer, 4, 4);
    equal(sys.address(view) - sys.address(buffer), 4n, 'address of a view');
  },

  'hostile plans': () => {
    const spawn = (value: unknown): unknown => sys.spawn(wrong(value) as never);
    const base = { cloneFlags: 0, slots: {}, steps: [] as unknown[] };
    const step = (value: unknown): unknown => ({ ...base, steps: [value] });
    const bad = [
      undefined,
      5,
      {},
      { ...base, cloneFlags: 0x100 },
      { ...base, cloneFlags: 'x' },
      { ...base, slots: 3 },
      { ...base, slots: { 0: 'a' } },
      { ...base, steps: 7 },
      { ...base, steps: new Array(5000) },
      { ...base, enter: [{ fd: -1, type: 0 }] },
      step(null),
      step({ op: 'dance' }),
      step({ op: 'call', nr: -1, args: [] }),
      step({ op: 'call', nr: 1, args: [1, 2, 3, 4, 5, 6, 7] }),
      step({ op: 'call', nr: 1, args: [{ slot: 64 }] }),
      step({ op: 'call', nr: 1, args: [undefined] }),
      step({ op: 'call', nr: 1, args: [], result: 64 }),
      step({ op: 'call', nr: 1, args: ['a\0'] }),
      step({ op: 'write', path: 'x', bytes: 'text' }),
      step({ op: 'resolve', root: 3, path: 'x', leaf: 'any', create: false, mode: 0, result: 0 }),
      step({ op: 'resolve', root: { slot: -1 }, path: 'x', leaf: 'any', create: false, mode: 0, result: 0 }),
      step({ op: 'seccomp', filter: new Uint8Array(7), flags: 0 }),
      step({ op: 'stdio', fds: new Array(65).fill({ slot: 0 }) }),
      step({ op: 'exec', path: 'x', argv: [1], env: [], searchPath: [] }),
      step({ op: 'exit', status: 256 }),
    ];
    for (const value of bad) throwsTypeError(() => spawn(value), JSON.stringify(value) ?? 'undefined');
    throwsTypeError(() => sys.seccompCompile(wrong({}) as never), 'an empty filter');
  },

  files([directory = '']) {
    mkdir(sys, `${directory}/d`);
    writeFile(sys, `${directory}/d/f`, 'hällo', O.WRONLY | O.CREAT, 0o640);
    symlink(sys, 'f', `${directory}/d/l`);
    equal(readFile(sys, `${directory}/d/l`), 'hällo', 'readFile');
    equal(readlink(sys, `${directory}/d/l`), 'f', 'readlink');
    const status = stat(sys, `${directory}/d/f`);
    equal([status.mode, status.size, status.nlink], [S.IFREG | 0o640, 6, 1], 'stat');
    const entries = readDirectory(sys, `${directory}/d`).sort((a, b) => (a.name < b.name ? -1 : 1));
    equal(
      entries.map(({ name, type }) => [name, type]),
      [
        ['f', DT.REG],
        ['l', DT.LNK],
      ],
      'readDirectory',
    );
    assert(readFile(sys, '/proc/self/status').includes('VmRSS'), '/proc is read');
  },

  'file errors': () => {
    try {
      open(sys, '/nonexistent/x', O.RDONLY);
    } catch (error) {
      assert(isErrno(error, E.ENOENT), 'errno');
      equal(error.message, 'open /nonexistent/x: ENOENT', 'message');
    }
    try {
      readFileBytes(sys, '/dev/zero', 100000);
      throw new Error('read all of /dev/zero');
    } catch (error) {
      assert(isErrno(error, E.EFBIG), String(error));
    }
    equal(sys.call(SYS.openat, AT.FDCWD, '/', O.RDWR), -E.EISDIR, 'raw');
  },

  'descriptor passing': () => {
    const [a, b] = socketpair(sys, SOCK.SEQPACKET);
    const nullFd = open(sys, '/dev/null', O.RDONLY);
    equal(sendDescriptors(sys, a, utf8('take'), [nullFd, a]), 4, 'sent');
    const buffer = new Uint8Array(100);
    const message = receiveDescriptors(sys, b, buffer);
    assert(typeof message === 'object', 'received');
    equal([message.length, message.fds.length, message.flags & 0x28], [4, 2, 0], 'message');
    equal(text(buffer.subarray(0, 4)), 'take', 'data');
    equal(readlink(sys, `/proc/self/fd/${message.fds[0]}`), '/dev/null', 'descriptor');
  },

  utf8([inputPath = '']) {
    const input = JSON.parse(readFile(sys, inputPath, 1 << 26)) as { strings: string[]; bytes: number[][] };
    const encoder = new Encoder();
    const decoder = new Decoder();
    const raw = (globalThis as unknown as { tskataNative: NativeText }).tskataNative;
    return {
      encoded: input.strings.map((value) => {
        const bytes = encoder.encode(value);
        equal(raw.utf8Length(value), bytes.length, 'utf8Length');
        const target = new Uint8Array(bytes.length + 2);
        equal(raw.utf8Write(value, target, 1), bytes.length, 'utf8Write');
        equal(Array.from(target.subarray(1, -1)), Array.from(bytes), 'utf8Write bytes');
        return Array.from(bytes);
      }),
      decoded: input.bytes.map((value) => {
        const decoded = decoder.decode(Uint8Array.from(value));
        equal(raw.utf8Read(Uint8Array.from([1, ...value, 2]), 1, value.length + 1), decoded, 'utf8Read');
        return Array.from({ length: decoded.length }, (_, index) => decoded.charCodeAt(index));
      }),
      stripped: new DecoderWithMark('utf-8').decode(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61)),
      fatal: fatalDecode(Uint8Array.of(0x61, 0xff)),
    };
  },

  words: () => {
    const bytes = new Uint8Array(24);
    const view = viewOf(bytes);
    const values = [2n ** 53n + 1n, 2n ** 63n - 1n, 2n ** 64n - 1n];
    values.forEach((value, index) => {
      view.setBigUint64(index * 8, value, true);
    });
    equal(
      [0, 1, 2].map((index) => view.getBigUint64(index * 8, true)),
      values,
      '64-bit words are exact',
    );
  },
};

interface NativeText {
  utf8Length(value: string): number;
  utf8Write(value: string, bytes: Uint8Array, offset: number): number;
  utf8Read(bytes: Uint8Array, start: number, end: number): string;
}
declare const TextEncoder: new () => { encode(value: string): Uint8Array };
declare const TextDecoder: new (
  label?: string,
  options?: { ignoreBOM?: boolean; fatal?: boolean },
) => { decode(bytes: Uint8Array): string };
class Encoder extends TextEncoder {}
class Decoder {
  decode(bytes: Uint8Array): string {
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  }
}
const DecoderWithMark = TextDecoder;

function fatalDecode(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    return error instanceof TypeError ? 'TypeError' : 'other';
  }
}
