/** The kernel's reserve by the size of the guest. */
import { expect, test } from 'vitest';
import { reserveKib } from '../../../../agent/boot/memory.ts';

test.each([
  [0, 1024],
  [128 * 1024, 1024],
  [512 * 1024, 1024],
  [1024 * 1024, 2048],
  [16 * 1024 * 1024, 32_768],
])('of %i KiB, %i are kept back', (totalKib, reserve) => {
  expect(reserveKib(totalKib)).toBe(reserve);
});
