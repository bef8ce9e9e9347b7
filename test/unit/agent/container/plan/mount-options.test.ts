import { expect, test } from 'vitest';
import { parseMountOptions, parsePropagation } from '../../../../../agent/container/plan/mount-options.ts';
import { MOUNT_ATTR, MS } from '../../../../../agent/sys/linux.ts';

test('attributes set and clear bits, the last word about each counts', () => {
  const { attributes } = parseMountOptions(['ro', 'nosuid', 'rw', 'noexec', 'exec', 'noatime'], 'tmpfs');
  expect(attributes).toEqual({
    set: MOUNT_ATTR.NOSUID,
    clear: MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOEXEC,
    atime: MOUNT_ATTR.NOATIME,
  });
});

test('recursive words are kept apart', () => {
  const options = parseMountOptions(['rbind', 'rro', 'rnosuid', 'ro'], 'bind');
  expect(options.recursiveAttributes).toEqual({
    set: MOUNT_ATTR.RDONLY | MOUNT_ATTR.NOSUID,
    clear: 0,
    recursive: true,
  });
  expect(options.attributes.set).toBe(MOUNT_ATTR.RDONLY);
  expect(options).toMatchObject({ bind: true, recursiveBind: true, data: [] });
});

test('propagation, copy-up and the rest', () => {
  const options = parseMountOptions(['rslave', 'tmpcopyup', 'size=1m', 'huge', 'defaults', ''], 'tmpfs');
  expect(options).toMatchObject({ propagation: { type: MS.SLAVE, recursive: true }, copyUp: true, bind: false });
  expect(options.data).toEqual(['size=1m', 'huge']);
  expect(parsePropagation('rshared')).toEqual({ type: MS.SHARED, recursive: true });
  expect(parsePropagation('unbindable')).toEqual({ type: MS.UNBINDABLE, recursive: false });
  expect(parsePropagation('ro')).toBeUndefined();
});

test('a bind is one by its type or by its option', () => {
  expect(parseMountOptions([], 'bind')).toMatchObject({ bind: true, recursiveBind: false });
  expect(parseMountOptions(['bind'], 'none').bind).toBe(true);
});
