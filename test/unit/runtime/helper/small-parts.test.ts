/** The pure parts of the native helper, on Node. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { utf8 } from '../../../../agent/sys/structs.ts';
import { maskOf, parseCidr } from '../../../../runtime/helper/cidr.ts';
import { findCapability } from '../../../../runtime/helper/credentials.ts';
import { buildEgressPrograms } from '../../../../runtime/helper/egress.ts';
import { mountsBelow } from '../../../../runtime/helper/gc.ts';
import { parseGoFlags } from '../../../../runtime/helper/go-flags.ts';
import { findCgroup2 } from '../../../../runtime/helper/hierarchies.ts';
import { parseMountOptions } from '../../../../runtime/helper/host-mount-options.ts';
import { overlayData } from '../../../../runtime/helper/overlay-data.ts';
import { parseStartTicks } from '../../../../runtime/helper/process-ref.ts';
import { parseSandboxOptions } from '../../../../runtime/helper/sandbox.ts';
import { sha256Hex } from '../../../../runtime/helper/sha256.ts';

const SEED = 20_240_601;

test('sha256 equals another implementation', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(sha256Hex(bytes)).toBe(createHash('sha256').update(bytes).digest('hex'));
    }),
    { seed: SEED },
  );
  expect(sha256Hex(utf8(''))).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
});

describe('flags as Go writes them', () => {
  const parse = (...args: string[]) => parseGoFlags(args, ['id', 'address'], ['debug']);

  test.each([
    [['-id', 'x', 'start']],
    [['--id', 'x', 'start']],
    [['-id=x', 'start']],
    [['--id=x', 'start']],
    [['-id', 'y', '-id', 'x', '--', 'start']],
  ])('%j', (args) => {
    expect(parse(...args)).toMatchObject({ strings: { id: 'x', address: '' }, rest: ['start'] });
  });

  test('a value may be empty, and may look like a flag', () => {
    expect(parse('-address', '', '-id', '-debug', 'start').strings).toEqual({ address: '', id: '-debug' });
  });

  test('booleans take a value only after an equals sign', () => {
    expect(parse('-debug', 'start')).toMatchObject({ booleans: { debug: true }, rest: ['start'] });
    expect(parse('-debug=false', 'start').booleans.debug).toBe(false);
    expect(() => parse('-debug=maybe')).toThrow('no boolean');
  });

  test('what is unknown or incomplete is refused', () => {
    expect(() => parse('-nope', 'x')).toThrow('unknown flag -nope');
    expect(() => parse('-id')).toThrow('needs a value');
    expect(() => parse('-__proto__', 'x')).toThrow('unknown flag');
  });

  test('flags after the command are not flags', () => {
    expect(parse('start', '-id', 'x').rest).toEqual(['start', '-id', 'x']);
  });
});

describe('address ranges', () => {
  test.each([
    ['10.1.2.3/8', '0a000000', 8],
    ['192.0.2.1', 'c0000201', 32],
    ['0.0.0.0/0', '00000000', 0],
    ['fe80::1/10', `fe80${'0'.repeat(28)}`, 10],
    ['::1', `${'0'.repeat(31)}1`, 128],
    ['::ffff:1.2.3.4/128', '00000000000000000000ffff01020304', 128],
    ['1:2:3:4:5:6:7:8/128', '00010002000300040005000600070008', 128],
  ])('%s', (text, hex, prefix) => {
    const cidr = parseCidr(text);
    expect(Buffer.from(cidr.bytes).toString('hex')).toBe(hex);
    expect(cidr.prefix).toBe(prefix);
  });

  test.each([
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.0.0.1',
    '01.2.3.4',
    '1.2.3.4/33',
    '1.2.3.4/',
    '1.2.3.4/-1',
    ':::',
    '1:2',
    '::/129',
    '1::2::3',
    'g::',
    '1:2:3:4:5:6:7::8',
  ])('%j is none', (text) => expect(() => parseCidr(text)).toThrow('not in CIDR form'));

  test('any text is parsed or refused, never worse', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'0123456789abf:./% ') }), (text) => {
        try {
          const { bytes, prefix } = parseCidr(text);
          expect([4, 16]).toContain(bytes.length);
          expect(prefix).toBeLessThanOrEqual(bytes.length * 8);
        } catch (error) {
          expect((error as Error).message).toContain('parse address range');
        }
      }),
      { seed: SEED, numRuns: 2000 },
    );
  });

  test('masks', () => {
    expect([...maskOf(20, 4)]).toEqual([255, 255, 240, 0]);
    expect([...maskOf(0, 4)]).toEqual([0, 0, 0, 0]);
    expect(maskOf(128, 16).every((byte) => byte === 255)).toBe(true);
  });
});

test('egress programs are whole instructions and end', () => {
  const programs = buildEgressPrograms({
    resolvers: ['127.0.0.53', '::1'],
    allowed: ['10.0.0.0/8', 'fd00::/8'],
    denied: ['0.0.0.0/0', '::/0'],
    denyHost: true,
  });
  expect(programs.map(({ name }) => name)).toEqual(['connect4', 'connect6', 'sendmsg4', 'sendmsg6', 'egress']);
  for (const { code } of programs) {
    expect(code.length % 8).toBe(0);
    expect(code[code.length - 8]).toBe(0x95);
  }
  expect(() => buildEgressPrograms({ resolvers: [], allowed: ['nonsense'], denied: [], denyHost: false })).toThrow();
});

test('options of mounts', () => {
  expect(parseMountOptions(['ro', 'nodev', 'lowerdir=/a:/b', 'index=off'])).toMatchObject({
    flags: 1 | 4,
    data: ['lowerdir=/a:/b', 'index=off'],
  });
  expect(parseMountOptions(['rbind', 'rslave']).propagation).not.toBe(
    parseMountOptions(['rbind', 'rprivate']).propagation,
  );
  for (const option of ['shared', 'rshared', 'remount', 'move']) {
    expect(() => parseMountOptions([option])).toThrow('not allowed');
  }
  expect(parseMountOptions(['constructor']).data).toEqual(['constructor']);
});

test('the layers of an overlay fit into a page, by short names if need be', () => {
  const layers = (count: number, directory = '/var/lib/containerd/snapshots') =>
    Array.from({ length: count }, (_, index) => `${directory}/${index}/fs`);
  const upper = ['upperdir=/var/u', 'workdir=/var/w'];
  const few = overlayData([`lowerdir=${layers(3).join(':')}`, ...upper, 'index=off']);
  expect(few.directory).toBeUndefined();
  expect(few.data).toMatch(
    /^lowerdir=\/var\/lib\/containerd\/snapshots\/0\/fs:.*,upperdir=\/var\/u,workdir=\/var\/w,index=off$/,
  );
  const many = overlayData([`lowerdir=${layers(200).join(':')}`, ...upper]);
  expect(many.directory).toBe('/var/lib/containerd/snapshots/');
  expect(many.data).toMatch(/^lowerdir=0\/fs:1\/fs:.*:199\/fs,upperdir=\/var\/u,workdir=\/var\/w$/);
  const apart = overlayData([`lowerdir=${[...layers(100, '/var/lib/one'), ...layers(200, '/var/two')].join(':')}`]);
  expect(apart.directory).toBe('/var/');
  expect(apart.data).toMatch(/^lowerdir=lib\/one\/0\/fs:.*:two\/199\/fs$/);
  expect(() => overlayData([`lowerdir=${layers(500, `/${'x'.repeat(80)}`).join(':')}:/y`])).toThrow(
    'flatten the image',
  );
});

test('start time of a process with an evil name', () => {
  const fields = Array.from({ length: 50 }, (_, index) => String(index));
  const stat = (state: string): string => `12 (a) R 1) S ) ${[state, ...fields.slice(1)].join(' ')}`;
  expect(parseStartTicks(stat('S'))).toBe(19);
  expect(parseStartTicks(stat('Z'))).toBeUndefined();
  expect(parseStartTicks('')).toBeUndefined();
});

test('mounts below a run root, deepest first', () => {
  const line = (point: string): string => `1 2 0:1 / ${point} rw - tmpfs tmpfs rw`;
  const text = ['/run', '/run/tskata', '/run/tskata/a', '/run/tskata/a/b\\040c', '/run/tskatax'].map(line).join('\n');
  expect(mountsBelow(text, '/run/tskata')).toEqual(['/run/tskata/a/b c', '/run/tskata/a']);
});

test('the cgroup v2 mount is found on unified and hybrid hosts', () => {
  const v1 = '30 29 0:26 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu';
  expect(findCgroup2(`${v1}\n31 29 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw`)).toBe(
    '/sys/fs/cgroup/unified',
  );
  expect(findCgroup2('24 23 0:27 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw')).toBe('/sys/fs/cgroup');
  expect(findCgroup2(v1)).toBeUndefined();
});

test('names of capabilities', () => {
  expect(findCapability('CAP_CHOWN')).toBe(0);
  expect(findCapability('CAP_SETFCAP')).toBe(31);
  expect(findCapability('CAP_CHECKPOINT_RESTORE')).toBe(40);
  expect(findCapability('CAP_NONE')).toBeUndefined();
});

test('arguments of the keeper', () => {
  const { runRoot, inherited } = parseSandboxOptions(['--run-root', '/run/x', 'qmp=4', 'control=5']);
  expect(runRoot).toBe('/run/x');
  expect([...inherited]).toEqual([
    ['qmp', 4],
    ['control', 5],
  ]);
  expect(() => parseSandboxOptions(['qmp=4'])).toThrow('--run-root');
  expect(() => parseSandboxOptions(['--run-root', '/x', '--help'])).toThrow('unknown argument');
});
