/** What a waiting person sees, on a terminal and in a log. */
import { expect, test } from 'vitest';
import { Progress } from '../../../guest-kernel/progress.ts';

function recorder(isTTY: boolean) {
  const written: string[] = [];
  let now = 0;
  const progress = new Progress({ isTTY, write: (text: string) => written.push(text) }, () => now);
  return { written, progress, advance: (ms: number) => (now += ms) };
}

test('a log gets a line every half minute', () => {
  const { written, progress, advance } = recorder(false);
  progress.step('compiling');
  for (let done = 0; done < 100; done++) {
    advance(1_000);
    progress.update('compiling', done, 100);
  }
  expect(written).toEqual([
    'guest kernel: compiling\n',
    'guest kernel: compiling  29 % 30 s\n',
    'guest kernel: compiling  59 % 60 s\n',
    'guest kernel: compiling  89 % 90 s\n',
  ]);
});

test('a terminal gets one line that is rewritten, and never reaches the end before the end', () => {
  const { written, progress, advance } = recorder(true);
  progress.update('compiling', 50, 100);
  progress.update('compiling', 51, 100);
  advance(1_000);
  progress.update('compiling', 500, 100);
  progress.finish('built 6.1');
  expect(written).toEqual([
    '\r\x1b[Kguest kernel: compiling [###############...............]  50 % 0 s',
    '\r\x1b[Kguest kernel: compiling [##############################]  99 % 1 s',
    '\r\x1b[K',
    'guest kernel: built 6.1 (1 s)\n',
  ]);
});
