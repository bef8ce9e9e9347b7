import { expect, test } from 'vitest';
import { QuietSignal } from '../../../../runtime/helper/quiet-signal.ts';
import { ManualLoop } from '../../../helpers/manual-loop.ts';

/** A signal, its loop, and how often it has told. */
function make(): { loop: ManualLoop; signal: QuietSignal; told: () => Promise<number>; wait: () => void } {
  const loop = new ManualLoop();
  const signal = new QuietSignal(loop);
  let count = 0;
  const wait = (): void => {
    void signal.wait().then(() => {
      count += 1;
    });
  };
  return {
    loop,
    signal,
    wait,
    told: async () => {
      await Promise.resolve();
      return count;
    },
  };
}

test('tells once, when a burst is over', async () => {
  const { loop, signal, told, wait } = make();
  wait();
  for (let change = 0; change < 5; change++) {
    signal.change();
    loop.advance(60);
  }
  expect(await told()).toBe(0);
  loop.advance(40);
  expect(await told()).toBe(1);
  wait();
  loop.advance(10_000);
  expect(await told()).toBe(1);
});

test('tells of changes without an end after a second', async () => {
  const { loop, signal, told, wait } = make();
  wait();
  for (let change = 0; change < 19; change++) {
    signal.change();
    loop.advance(50);
  }
  expect(await told()).toBe(0);
  signal.change();
  loop.advance(50);
  expect(await told()).toBe(1);
});

test('what has changed before is told to whoever asks later, unless it is known', async () => {
  const { loop, signal, told, wait } = make();
  signal.change();
  loop.advance(5_000);
  wait();
  loop.advance(0);
  expect(await told()).toBe(1);
  signal.change();
  signal.reset();
  wait();
  loop.advance(5_000);
  expect(await told()).toBe(1);
  expect(loop.timerCount).toBe(0);
});
