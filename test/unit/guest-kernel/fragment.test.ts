/** The fragment format, and the check that no requested option gets lost. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  assertDistinct,
  describeLostOptions,
  findLostOptions,
  findModules,
  parseConfig,
  parseFragment,
  toKconfig,
} from '../../../guest-kernel/fragment.ts';

const CONFIG_FOLDER = join(import.meta.dirname, '../../../guest-kernel/config');

describe('parseFragment', () => {
  test('reads bools, numbers and strings with their reasons', () => {
    const text = [
      '# group',
      '',
      'CONFIG_A=y # for a',
      'CONFIG_B=n # for b',
      'CONFIG_C=-1 # for c',
      'CONFIG_D="x # y" # for d',
    ];
    expect(parseFragment('f.config', text.join('\n'))).toEqual([
      { name: 'CONFIG_A', value: 'y', reason: 'for a', fragment: 'f.config', line: 3 },
      { name: 'CONFIG_B', value: 'n', reason: 'for b', fragment: 'f.config', line: 4 },
      { name: 'CONFIG_C', value: '-1', reason: 'for c', fragment: 'f.config', line: 5 },
      { name: 'CONFIG_D', value: '"x # y"', reason: 'for d', fragment: 'f.config', line: 6 },
    ]);
  });

  test.each([
    ['an option without a reason', 'CONFIG_A=y'],
    ['an empty reason', 'CONFIG_A=y # '],
    ['a module', 'CONFIG_A=m # as a module'],
    ['a word', 'CONFIG_A=yes # why'],
    ['a name without prefix', 'A=y # why'],
    ['an open quote', 'CONFIG_A="x # why'],
  ])('refuses %s and says where', (_, line) => {
    expect(() => parseFragment('f.config', `\n${line}`)).toThrow(/f\.config:2: /);
  });

  test('refuses an option asked for twice', () => {
    expect(() => parseFragment('f.config', 'CONFIG_A=y # one\nCONFIG_A=n # two')).toThrow(
      'f.config:1 and in f.config:2',
    );
  });

  test('takes any text as input without another error than its own', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parseFragment('f.config', text);
        } catch (error) {
          expect(String(error)).toMatch(/^Error: read kernel fragments? /);
        }
      }),
      { seed: 2, numRuns: 500 },
    );
  });
});

describe('the fragments of this project', () => {
  test('can be read, ask for nothing twice, and give a reason for everything', () => {
    const options = readdirSync(CONFIG_FOLDER).flatMap((name) =>
      parseFragment(name, readFileSync(join(CONFIG_FOLDER, name), 'utf8')),
    );
    assertDistinct(options);
    expect(options.length).toBeGreaterThan(300);
  });
});

describe('survival of options', () => {
  const options = parseFragment(
    'f.config',
    'CONFIG_A=y # a\nCONFIG_B=n # b\nCONFIG_C=3 # c\nCONFIG_D="s" # d\nCONFIG_E=y # e',
  );

  test('is complete when every value is there and every n is absent', () => {
    const config = parseConfig('CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=3\nCONFIG_D="s"\nCONFIG_E=y\nCONFIG_X=y\n');
    expect(findLostOptions(options, config)).toEqual([]);
  });

  test('names each option that was dropped, forced on or changed', () => {
    const lost = findLostOptions(options, parseConfig('CONFIG_B=y\nCONFIG_C=4\nCONFIG_D="s"\n# CONFIG_E is not set\n'));
    expect(lost.map(({ option, actual }) => [option.name, actual])).toEqual([
      ['CONFIG_A', 'n'],
      ['CONFIG_B', 'y'],
      ['CONFIG_C', '4'],
      ['CONFIG_E', 'n'],
    ]);
    expect(describeLostOptions(lost)).toContain('CONFIG_C: asked for 3 in f.config:3, got 4');
  });

  test('does not hide a module that nobody asked for', () => {
    expect(findModules(parseConfig('CONFIG_A=y\nCONFIG_X=m\nCONFIG_S="m"\n'))).toEqual(['CONFIG_X']);
  });

  test('is checked against what kconfig is given', () => {
    expect(toKconfig(options)).toBe('CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=3\nCONFIG_D="s"\nCONFIG_E=y\n');
  });
});
