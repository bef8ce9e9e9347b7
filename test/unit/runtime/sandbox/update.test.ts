import { expect, test } from 'vitest';
import { checkUpdate, mergeResources } from '../../../../runtime/sandbox/update.ts';

const MIB = 1024 * 1024;
const MACHINE = { memoryMib: 640, vcpus: 2, guestOverheadMib: 128 };

test('what the machine can hold passes; more is refused with its size', () => {
  const update =
    (resources: object, old = {}) =>
    () =>
      checkUpdate('c', old, resources, MACHINE);
  expect(update({ memory: { limit: 512 * MIB } })).not.toThrow();
  expect(update({ memory: { limit: -1 } })).not.toThrow();
  expect(update({ memory: { limit: 513 * MIB } })).toThrow(
    'update container c: a memory limit of 513 MiB; its machine has 640 MiB, of which containers can have 512',
  );
  expect(update({ cpu: { quota: 200_000, period: 100_000 } })).not.toThrow();
  expect(update({ cpu: { quota: 250_000 } })).toThrow('a limit of 2.5 CPUs; its machine has 2');
  expect(update({ cpu: { quota: -1 } })).not.toThrow();
  // The period alone can ask for more, too.
  expect(update({ cpu: { period: 10_000 } }, { cpu: { quota: 100_000, period: 100_000 } })).toThrow('10 CPUs');
});

test('what was accepted at the start can be said again, and lowered', () => {
  const old = { memory: { limit: 2 ** 40 }, cpu: { quota: 900_000 } };
  expect(() => checkUpdate('c', old, old, MACHINE)).not.toThrow();
  expect(() => checkUpdate('c', old, { memory: { limit: 2 ** 39 }, cpu: { quota: 800_000 } }, MACHINE)).not.toThrow();
  expect(() => checkUpdate('c', old, { memory: { limit: 2 ** 41 } }, MACHINE)).toThrow('memory limit');
});

test('an update keeps what it does not name', () => {
  const old = { memory: { limit: 1, swap: 2 }, cpu: { shares: 3 }, pids: { limit: 4 } };
  expect(mergeResources(old, { memory: { limit: 5 } })).toEqual({ ...old, memory: { limit: 5, swap: 2 }, blockIO: {} });
});
