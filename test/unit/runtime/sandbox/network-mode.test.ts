import { expect, test } from 'vitest';
import type { Spec } from '../../../../runtime/oci/spec.ts';
import { readOptions } from '../../../../runtime/sandbox/config.ts';
import { networkOf } from '../../../../runtime/sandbox/network-mode.ts';

const PATH = '/run/netns/pod';
const POLICY = { caller: 'command', enabled: [], source: '', defaultLogBytes: 4096 } as const;

function choose(caller: 'command' | 'containerd', namespaces: object[] | undefined, annotation?: string): unknown {
  const annotations: Record<string, string> = annotation === undefined ? {} : { 'io.tskata.network': annotation };
  const spec = { ociVersion: '1.1.0', annotations, ...(namespaces && { linux: { namespaces } }) } as Spec;
  const { mode, path } = networkOf(spec, readOptions(annotations, POLICY), caller);
  return path === undefined ? mode : [mode, path];
}

test('a namespace by path is taken, whoever asks', () => {
  for (const caller of ['command', 'containerd'] as const) {
    expect(choose(caller, [{ type: 'network', path: PATH }])).toEqual(['netns', PATH]);
  }
});

test("a new namespace of containerd's is followed, any other is loopback only", () => {
  expect(choose('containerd', [{ type: 'network' }])).toEqual(['netns', '']);
  expect(choose('containerd', [{ type: 'network', path: '' }])).toEqual(['netns', '']);
  expect(choose('command', [{ type: 'network' }])).toBe('none');
});

test('an annotation goes before the namespace', () => {
  expect(choose('command', [{ type: 'network', path: PATH }], 'user')).toBe('user');
  expect(choose('command', [{ type: 'network', path: PATH }], 'none')).toBe('none');
});

test('none at all is the network of the host for containerd, and refused', () => {
  expect(() => choose('containerd', [{ type: 'pid' }])).toThrow(/linux.namespaces: .*hostNetwork: true/);
  expect(() => choose('containerd', undefined)).toThrow(/hostNetwork/);
  expect(choose('command', undefined)).toBe('none');
});
