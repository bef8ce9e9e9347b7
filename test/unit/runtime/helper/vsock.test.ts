/** Addresses and ports of vsock: a taken one is never used, and running out ends in words. */
import { beforeEach, describe, expect, it } from 'vitest';
import { RecorderSys } from '../../../../agent/sys/recorder.ts';
import { parseSockaddr, viewOf } from '../../../../agent/sys/structs.ts';
import type { SysArg } from '../../../../agent/sys/sys.ts';
import { openRootSocket, VsockAddress } from '../../../../runtime/helper/vsock.ts';

const EADDRINUSE = -98;
const EACCES = -13;
const DEVICE = 9;

let sys: RecorderSys;
let asked: number[];

function random(...values: readonly number[]): void {
  sys.answer(
    'getrandom',
    ...values.map((value) => ([buffer]: readonly SysArg[]) => {
      viewOf(buffer as Uint8Array).setUint32(0, value, true);
      return 4;
    }),
  );
}

beforeEach(() => {
  sys = new RecorderSys();
  asked = [];
  sys.answer('openat', DEVICE);
});

/** The kernel's answer to each address that is asked for. */
function answerClaims(answer: (cid: number) => number): void {
  sys.answerAlways('ioctl', ([, , cid]) => {
    asked.push(Number(viewOf(cid as Uint8Array).getBigUint64(0, true)));
    return answer(asked.at(-1) ?? 0);
  });
}

describe('an address', () => {
  it('is another one when the first is taken', () => {
    random(4, 5);
    answerClaims((cid) => (cid === 7 ? EADDRINUSE : 0));
    expect(new VsockAddress(sys).claim()).toBe(8);
    expect(asked).toEqual([7, 8]);
  });

  it('is never one with a meaning', () => {
    random(0, 0xffff_fffb, 0xffff_fffc);
    answerClaims(() => EADDRINUSE);
    expect(() => new VsockAddress(sys).claim()).toThrow(/64 in a row were taken/);
    expect(asked.slice(0, 3)).toEqual([3, 0xffff_fffe, 3]);
    expect(sys.calls.at(-1)).toMatchObject({ name: 'close', args: [DEVICE] });
  });

  it('is claimed once, and without one there is no device', () => {
    answerClaims(() => 0);
    const address = new VsockAddress(sys);
    expect(() => address.open()).toThrow(/no address claimed/);
    address.claim();
    expect(() => address.claim()).toThrow(/there is one/);
  });
});

describe("a socket of root's", () => {
  /** The kernel's answer to each port that is asked for. */
  function answerBinds(answer: (port: number) => number): void {
    sys.answerAlways('bind', ([, address, length]) => {
      const found = parseSockaddr(address as Uint8Array, Number(length));
      expect(found).toMatchObject({ family: 'vsock', cid: 2 });
      asked.push(found?.family === 'vsock' ? found.port : 0);
      return answer(asked.at(-1) ?? 0);
    });
  }

  it('takes the next port when one is taken, past the last one from the first on', () => {
    random(1021);
    sys.answer('socket', 5);
    answerBinds((port) => (port === 2 ? 0 : EADDRINUSE));
    expect(openRootSocket(sys)).toBe(5);
    expect(asked).toEqual([1022, 1023, 1, 2]);
  });

  it('says when there is none left, or when it may not', () => {
    answerBinds(() => EADDRINUSE);
    expect(() => openRootSocket(sys)).toThrow(/all 1023 ports of root are in use/);
    expect(new Set(asked).size).toBe(1023);
    answerBinds(() => EACCES);
    expect(() => openRootSocket(sys)).toThrow(/EACCES/);
  });
});
