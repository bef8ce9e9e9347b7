import { beforeEach, describe, expect, test } from 'vitest';
import { InputPump } from '../../../../agent/io/input.ts';
import { OutputPump } from '../../../../agent/io/output.ts';
import { E } from '../../../../agent/sys/errno.ts';
import { RecorderSys } from '../../../../agent/sys/recorder.ts';
import { ManualLoop } from '../../../helpers/manual-loop.ts';

const FD = 7;
let sys: RecorderSys;
let loop: ManualLoop;
/** What the descriptor gives: bytes, or an errno. */
let source: (string | number)[];

beforeEach(() => {
  sys = new RecorderSys();
  loop = new ManualLoop();
  source = [];
  sys.onRead = (_fd, buffer, offset, length) => {
    const next = source[0];
    if (next === undefined) return -E.EAGAIN;
    if (typeof next === 'number') return -next;
    const bytes = Buffer.from(next).subarray(0, length);
    buffer.set(bytes, offset);
    if (bytes.length === next.length) source.shift();
    else source[0] = next.slice(bytes.length);
    return bytes.length;
  };
});

const closed = (): boolean => sys.calls.some(({ name, args }) => name === 'close' && args[0] === FD);

class FakeOutput {
  sent = '';
  ended = false;
  aborted = false;
  waiter: ((maxBytes: number) => void) | undefined;
  /** Credit that is there already: whoever asks is called at once. */
  credit = 0;
  whenWritable(ready: (maxBytes: number) => void): void {
    expect(this.waiter).toBeUndefined();
    if (this.credit > 0) ready(this.credit);
    else this.waiter = ready;
  }
  /** Credit comes. */
  grant(maxBytes: number): void {
    const { waiter } = this;
    this.waiter = undefined;
    waiter?.(maxBytes);
  }
  send(bytes: Uint8Array): void {
    this.sent += Buffer.from(bytes).toString();
  }
  sendFrom(maxBytes: number, read: (buffer: Uint8Array, offset: number, length: number) => number): number {
    const buffer = new Uint8Array(maxBytes + 5);
    const count = read(buffer, 5, maxBytes);
    if (count > 0) this.send(buffer.subarray(5, 5 + count));
    return count;
  }
  end(): void {
    this.ended = true;
  }
  abort(): void {
    this.aborted = true;
  }
}

describe('output', () => {
  test('is read when the stream may send, and ends with the descriptor', () => {
    const stream = new FakeOutput();
    const pump = new OutputPump(sys, loop, FD, stream);
    source = ['hello'];
    loop.fire(FD);
    expect(loop.watches.has(FD)).toBe(false);
    stream.grant(3);
    expect(stream.sent).toBe('hel');
    loop.fire(FD);
    stream.grant(100);
    expect(stream.sent).toBe('hello');
    loop.fire(FD, 16);
    sys.onRead = () => 0;
    stream.grant(100);
    expect(stream).toMatchObject({ ended: true, aborted: false });
    expect(pump.isFinished).toBe(true);
    expect(closed()).toBe(true);
    expect(pump.countPipe()).toBe(5);
  });

  test('counts what is still in the pipe', () => {
    const stream = new FakeOutput();
    const pump = new OutputPump(sys, loop, FD, stream);
    sys.answer('ioctl', (args) => {
      new DataView((args[2] as Uint8Array).buffer).setInt32(0, 1234, true);
      return 0;
    });
    expect(pump.countPipe()).toBe(1234);
  });

  test('of a terminal is read ahead at the end of its process', () => {
    const stream = new FakeOutput();
    const pump = new OutputPump(sys, loop, FD, stream);
    source = ['one', 'two', E.EIO];
    expect(pump.countTerminal()).toBe(6);
    expect(stream.sent).toBe('');
    stream.grant(4);
    stream.grant(4);
    expect(stream.sent).toBe('onetwo');
    expect(stream.ended).toBe(true);
    expect(pump.isFinished).toBe(true);
  });

  test('of a terminal is counted once, also by a stream that takes it at once', () => {
    const stream = new FakeOutput();
    stream.credit = 4;
    const pump = new OutputPump(sys, loop, FD, stream);
    source = ['one', 'three', E.EIO];
    expect(pump.countTerminal()).toBe(8);
    expect(stream.sent).toBe('onethree');
    expect(stream.ended).toBe(true);
  });

  test('of a broken stream is thrown away, and counted', () => {
    const stream = new FakeOutput();
    const pump = new OutputPump(sys, loop, FD, stream);
    source = ['x'.repeat(100)];
    loop.fire(FD);
    pump.dropStream();
    loop.fire(FD);
    expect(pump.countPipe()).toBe(100);
    sys.onRead = () => 0;
    loop.fire(FD);
    expect(pump.isFinished).toBe(true);
  });

  test('given up aborts its stream', () => {
    const stream = new FakeOutput();
    const pump = new OutputPump(sys, loop, FD, stream);
    let finished = 0;
    pump.onFinished = () => {
      finished += 1;
    };
    pump.close();
    pump.close();
    expect(stream.aborted).toBe(true);
    expect(finished).toBe(1);
    expect(closed()).toBe(true);
  });
});

class FakeInput {
  onData: (bytes: Uint8Array) => void = () => {};
  onEnd: () => void = () => {};
  granted = 0;
  consumed(count: number): void {
    this.granted += count;
  }
}

describe('input', () => {
  test('is written at once, the rest when there is room, and credit follows', () => {
    const stream = new FakeInput();
    const written: string[] = [];
    let room = 3;
    sys.onWrite = (_fd, bytes) => {
      const count = Math.min(room, bytes.length);
      if (count === 0) return -E.EAGAIN;
      room -= count;
      written.push(Buffer.from(bytes.subarray(0, count)).toString());
      return count;
    };
    const pump = new InputPump(sys, loop, FD, stream, true);
    let ending: number | undefined = -1;
    pump.onFinished = (errno) => {
      ending = errno;
    };
    const bytes = Buffer.from('hello');
    stream.onData(bytes);
    bytes.fill(0);
    stream.onData(Buffer.from('!'));
    expect(written.join('')).toBe('hel');
    expect(stream.granted).toBe(3);
    stream.onEnd();
    expect(closed()).toBe(false);
    room = 100;
    loop.fire(FD, 4);
    expect(written.join('')).toBe('hello!');
    expect(stream.granted).toBe(6);
    expect(ending).toBeUndefined();
    expect(closed()).toBe(true);
  });

  test('that nobody reads ends, and never starves the stream', () => {
    const stream = new FakeInput();
    sys.onWrite = () => -E.EPIPE;
    const pump = new InputPump(sys, loop, FD, stream, true);
    let ending: number | undefined;
    pump.onFinished = (errno) => {
      ending = errno;
    };
    stream.onData(Buffer.from('lost'));
    expect(ending).toBe(E.EPIPE);
    stream.onData(Buffer.from('more'));
    expect(stream.granted).toBeGreaterThanOrEqual(4);
  });
});
