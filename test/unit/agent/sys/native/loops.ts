/** Cases: the event loop and channels on it. */
import { close, pipe2 } from '../../../../../agent/sys/calls.ts';
import { FdChannel } from '../../../../../agent/sys/fd-channel.ts';
import { EPOLL, O, SOCK } from '../../../../../agent/sys/linux.ts';
import { engine } from '../../../../../agent/sys/native.ts';
import { eventFd, raiseDescriptorLimit } from '../../../../../agent/sys/processes.ts';
import { socketpair } from '../../../../../agent/sys/sockets.ts';
import { words64 } from '../../../../../agent/sys/structs.ts';
import { assert, type Case, delay, equal, loop, sys, throwsTypeError } from './kit.ts';

const ONE = words64(1);
const MANY = 3000;

export const loopCases: Record<string, Case> = {
  async 'three thousand descriptors'() {
    raiseDescriptorLimit(sys, 8192);
    const fds = Array.from({ length: MANY }, () => eventFd(sys));
    assert(Math.max(...fds) > 1024, 'beyond select');
    const seen = new Map<number, number>();
    const scratch = new Uint8Array(8);
    const all = new Promise<void>((resolve) => {
      for (const fd of fds) {
        loop.watch(fd, EPOLL.IN, () => {
          sys.read(fd, scratch, 0, 8);
          seen.set(fd, (seen.get(fd) ?? 0) + 1);
          if (seen.size === MANY) resolve();
        });
      }
    });
    for (const fd of fds) equal(sys.write(fd, ONE, 0, 8), 8, 'write');
    await all;
    await delay(10);
    assert(
      [...seen.values()].every((count) => count === 1),
      'once each',
    );
    for (const fd of fds) loop.unwatch(fd);
    for (const fd of fds) close(sys, fd);
    return { highest: Math.max(...fds) };
  },

  async 'stale events'() {
    // Both are ready in one batch; the first callback replaces the second's descriptor by a silent one.
    const [a, b] = [eventFd(sys), eventFd(sys)];
    const calls: string[] = [];
    const replace = (own: number, other: number): void => {
      calls.push(`${own === a ? 'a' : 'b'}`);
      loop.unwatch(own);
      loop.unwatch(other);
      close(sys, other);
      equal(eventFd(sys), other, 'the number is used again');
      loop.watch(other, EPOLL.IN, () => calls.push('stale'));
    };
    loop.watch(a, EPOLL.IN, () => replace(a, b));
    loop.watch(b, EPOLL.IN, () => replace(b, a));
    sys.write(a, ONE, 0, 8);
    sys.write(b, ONE, 0, 8);
    await delay(20);
    equal(calls.length, 1, calls.join());
    throwsTypeError(() => loop.watch(a, 1, undefined as never), 'watch without a function');
    throwsTypeError(() => loop.rewatch(999, 1), 'rewatch of nothing');
    throwsTypeError(() => loop.watch(-1, 1, () => {}), 'watch of -1');
    throwsTypeError(() => loop.watch(2 ** 30, 1, () => {}), 'watch of a huge number');
    loop.unwatch(999);
    loop.unwatch(a);
    loop.unwatch(b);
  },

  async timers() {
    const order: string[] = [];
    const started = loop.now();
    for (let index = 0; index < 500; index++) loop.timer(1000 + index, () => order.push('cancelled'))();
    loop.timer(30, () => order.push('c'));
    loop.timer(10, () => order.push('a'));
    loop.timer(10, () => order.push('b'));
    const cancel = loop.timer(20, () => order.push('never'));
    loop.timer(0, () => cancel());
    await delay(40);
    equal(order, ['a', 'b', 'c'], 'order');
    const took = loop.now() - started;
    assert(took >= 40 && took < 400, `took ${took} ms`);
    throwsTypeError(() => loop.timer(Number.NaN, () => {}), 'not a number');
  },

  async 'jobs and errors'() {
    const order: string[] = [];
    const [reader, writer] = pipe2(sys, O.NONBLOCK);
    loop.timer(0, () => {
      Promise.resolve().then(() => order.push('job 1'));
      order.push('timer 1');
    });
    loop.timer(0, () => order.push('timer 2'));
    await delay(5);
    equal(order, ['timer 1', 'job 1', 'timer 2'], 'jobs after every callback');
    let events = 0;
    loop.watch(reader, EPOLL.IN, (bits) => {
      events = bits;
      loop.unwatch(reader);
    });
    close(sys, writer);
    await delay(5);
    equal(events, EPOLL.HUP, 'hang-up');
    close(sys, reader);
    // Reported to the loop's owner, which turns them into this case's result.
    loop.timer(0, () => {
      throw new RangeError('expected: thrown');
    });
    loop.timer(0, () => void Promise.reject(new RangeError('expected: rejected')));
    const handledLater = Promise.reject(new Error('handled in the same turn'));
    handledLater.catch(() => {});
    await delay(10);
  },

  async channels() {
    const [a, b] = socketpair(sys, SOCK.STREAM);
    const [left, right] = [
      new FdChannel(sys, loop, a, { name: 'left' }),
      new FdChannel(sys, loop, b, { name: 'right' }),
    ];
    const total = 16 << 20;
    const chunk = new Uint8Array(50000);
    let [sent, received, sum, waits] = [0, 0, 0, 0];
    const pump = (): void => {
      while (sent < total) {
        const part = chunk.subarray(0, Math.min(chunk.length, total - sent));
        part.fill((sent / 50000) & 0xff);
        sent += part.length;
        if (!left.write(part.slice())) {
          waits++;
          return;
        }
      }
    };
    left.onDrain = pump;
    const finished = new Promise<void>((resolve, reject) => {
      right.onEnd = (error) => (error === undefined ? resolve() : reject(error));
    });
    right.onData = (bytes) => {
      received += bytes.length;
      // `close` drops what is still queued.
      if (received === total) left.close();
      sum = (sum + (bytes[0] ?? 0)) | 0;
      if (received % 7 === 0) {
        right.setReading(false);
        loop.timer(1, () => right.setReading(true));
      }
    };
    pump();
    await Promise.race([finished, delay(20000)]);
    assert(waits > 0, 'the writer had to wait');
    equal(received, total, 'received');
    return { received };
  },

  memory() {
    engine.setMemoryLimit(8 << 20);
    const kept: Uint8Array[] = [];
    try {
      for (;;) kept.push(new Uint8Array(100000));
    } catch (error) {
      assert(String(error).includes('out of memory'), String(error));
    }
    kept.length = 0;
    engine.collectGarbage();
    assert(engine.memoryUsed() < 2 << 20, `used ${engine.memoryUsed()}`);
  },
};
