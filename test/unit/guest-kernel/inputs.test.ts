/** The key under which a kernel is cached, and the choice of its source. */
import { describe, expect, test } from 'vitest';
import { cacheFolder, cacheKey, type KernelInputs, newestSource } from '../../../guest-kernel/inputs.ts';

const option = { name: 'CONFIG_A', value: 'y', reason: 'why', fragment: 'f.config', line: 1 };
const inputs: KernelInputs = {
  source: { archive: '/usr/src/linux-source-6.1.tar.xz', series: '6.1', version: '6.1.1-1' },
  patches: [{ name: '0001-a.patch', text: 'a' }],
  options: [option, { ...option, name: 'CONFIG_B', value: 'n', line: 2 }],
  toolchain: ['gcc 12', 'ld 2.40'],
};

describe('cacheKey', () => {
  const key = cacheKey(inputs, 1);

  test('is a hash in hexadecimal', () => {
    expect(key).toMatch(/^[0-9a-f]{64}$/);
  });

  test.each<[string, KernelInputs]>([
    ['a reason', { ...inputs, options: inputs.options.map((each) => ({ ...each, reason: 'other' })) }],
    ['the order of options', { ...inputs, options: inputs.options.toReversed() }],
    ['the place of the archive', { ...inputs, source: { ...inputs.source, archive: '/srv/linux-source-6.1.tar.xz' } }],
  ])('does not depend on %s', (_, other) => {
    expect(cacheKey(other, 1)).toBe(key);
  });

  test.each<[string, KernelInputs]>([
    ['a value', { ...inputs, options: [{ ...option, value: 'n' }] }],
    ['a missing option', { ...inputs, options: [option] }],
    ['the package version', { ...inputs, source: { ...inputs.source, version: '6.1.2-1' } }],
    ['a patch', { ...inputs, patches: [{ name: '0001-a.patch', text: 'b' }] }],
    ['the compiler', { ...inputs, toolchain: ['gcc 13', 'ld 2.40'] }],
  ])('depends on %s', (_, other) => {
    expect(cacheKey(other, 1)).not.toBe(key);
  });

  test('depends on the version of the builder', () => {
    expect(cacheKey(inputs, 2)).not.toBe(key);
  });
});

describe('newestSource', () => {
  test('compares series as numbers and ignores other files', () => {
    const names = [
      'linux-source-6.9.tar.xz',
      'linux-source-6.12.tar.xz',
      'linux-source-6.1.tar.xz',
      'linux-patch-7.0.tar.xz',
    ];
    expect(newestSource(names)).toEqual({ name: 'linux-source-6.12.tar.xz', series: '6.12' });
    expect(newestSource(['linux-source-6.1.tar.gz'])).toBeUndefined();
  });
});

describe('cacheFolder', () => {
  test.each([
    [{ TSKATA_CACHE: '/c', XDG_CACHE_HOME: '/x' }, '/c/guest-kernel'],
    [{ TSKATA_CACHE: '', XDG_CACHE_HOME: '/x' }, '/x/tskata/guest-kernel'],
  ])('%j gives %s', (env, folder) => {
    expect(cacheFolder(env)).toBe(folder);
  });

  test('falls back to the home directory', () => {
    expect(cacheFolder({})).toMatch(/\/\.cache\/tskata\/guest-kernel$/);
  });
});
