import { Writable } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { writesTo } from '../../../../shim/io/writes.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function heldBytes(): number {
  collect();
  return process.memoryUsage().heapUsed;
}

const taking = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() });

test('a write settles when it is through, or when the stream is closed', async () => {
  await writesTo(taking())(Buffer.from('x'));
  const stuck = new Writable({ write: () => undefined });
  const write = writesTo(stuck);
  const writing = [write(Buffer.from('x')), write(Buffer.from('y'))];
  stuck.on('error', () => undefined);
  stuck.destroy();
  await Promise.all(writing);
  await write(Buffer.from('z'));
});

test('nothing of a write is kept after it', async () => {
  const write = writesTo(taking());
  const bytes = Buffer.from('a line of a log');
  await write(bytes);
  const before = heldBytes();
  for (let count = 0; count < 100_000; count++) await write(bytes);
  expect(heldBytes() - before).toBeLessThan(4 * 1024 ** 2);
});
