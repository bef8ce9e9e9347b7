import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { EndWatch } from '../../../../runtime/sandbox/end-watch.ts';
import type { VmEnd } from '../../../../runtime/vm/vm.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function heldBytes(): number {
  collect();
  return process.memoryUsage().heapUsed;
}

const END: VmEnd = { cause: 'killed', message: 'by a signal', stderrTail: [], consoleTail: ['last words'] };

test('work ends with its machine, also work that is begun later', async () => {
  const ending = Promise.withResolvers<VmEnd>();
  const watch = new EndWatch({ ended: ending.promise });
  const working = watch.untilEnd(new Promise(() => undefined));
  ending.resolve(END);
  await expect(working).rejects.toThrow(/killed.*by a signal.*last words/);
  await expect(watch.untilEnd(new Promise(() => undefined))).rejects.toThrow('last words');
});

test('nothing of work that is done is kept', async () => {
  const watch = new EndWatch({ ended: new Promise(() => undefined) });
  expect(await watch.untilEnd(Promise.resolve(7))).toBe(7);
  const before = heldBytes();
  for (let count = 0; count < 50_000; count++) await watch.untilEnd(Promise.resolve(count));
  expect(heldBytes() - before).toBeLessThan(4 * 1024 ** 2);
});
