import { describe, expect, test } from 'vitest';
import { nearest } from '../../../../runtime/config/nearest.ts';
import { parseConfig } from '../../../../runtime/config/parse.ts';
import { sizePolicy } from '../../../../runtime/config/sizes.ts';

const one = (text: string) => parseConfig([{ path: '/c.toml', text }]);

describe('what is read', () => {
  test('nothing at all: every default', () => {
    expect(parseConfig([])).toEqual(one(''));
    expect(parseConfig([])).toMatchObject({
      enable_annotations: [],
      machine: { profile: 'auto', accelerator: 'auto', default_memory_mib: 512, default_vcpus: 1 },
      network: { default_network: 'user', allowed_destinations: [] },
      cgroup: { enabled: true, parent: '/tskata' },
    });
  });

  test('later files replace single keys, and lists as a whole', () => {
    const config = parseConfig([
      {
        path: '/a',
        text: '[machine]\nmax_vcpus = 4\ndefault_memory_mib = 256\n[network]\nallowed_destinations = ["10.0.0.1"]',
      },
      { path: '/b', text: '[machine]\nmax_vcpus = 8\n[network]\nallowed_destinations = ["2001:db8::/32"]' },
      { path: '/c', text: 'enable_annotations = ["io.tskata.sandbox.vcpus"]' },
    ]);
    expect(config).toMatchObject({
      enable_annotations: ['io.tskata.sandbox.vcpus'],
      machine: { max_vcpus: 8, default_memory_mib: 256 },
      network: { allowed_destinations: ['2001:db8::/32'] },
    });
  });
});

describe('what is refused, by file and key', () => {
  test.each([
    ['[machin]\n', 'read /c.toml: machin: unknown key; did you mean "machine"?'],
    ['[machine]\nmemory = 1', 'read /c.toml: machine.memory: unknown key'],
    ['[machine]\ndefault_memory_mb = 1', 'machine.default_memory_mb: unknown key; did you mean "default_memory_mib"?'],
    ['[machine]\ndefault_memory_mib = "512"', 'machine.default_memory_mib: expected number, received string'],
    ['[machine]\ndefault_memory_mib = 512.5', 'machine.default_memory_mib: expected int'],
    ['[machine]\ndefault_vcpus = 65', 'machine.default_vcpus: Too big'],
    ['[machine]\naccelerator = "xen"', 'machine.accelerator: expected one of "auto"|"kvm"|"tcg"'],
    ['[machine]\nprofile = "../x"', 'machine.profile: must be a name'],
    ['[machine]\nkernel = "vmlinux"', 'machine.kernel: must be an absolute path'],
    ['[network]\nallowed_destinations = ["10.0.0.0/33"]', 'network.allowed_destinations.0: must be an address'],
    ['[network]\nallowed_destinations = ["example.org"]', 'network.allowed_destinations.0: must be an address'],
    ['[cgroup]\nparent = "/a/../b"', 'cgroup.parent: must be an absolute path of plain names'],
    ['[cgroup]\nparent = "/"', 'cgroup.parent: must be'],
    ['[jail]\nfirst_uid = 0', 'jail.first_uid: Too small'],
    ['enable_annotations = ["io.tskata.log.path"]', 'enable_annotations.0: expected one of "io.tskata.sandbox.memory"'],
    ['enable_annotations = [".*"]', 'enable_annotations.0'],
    ['machine = 1', 'machine: expected object'],
    ['a = 1\nb = ', 'read /c.toml: line 2, column'],
    ['[machine]\nmax_vcpus = 2\nmax_vcpus = 3', 'read /c.toml: line 3'],
    ['[machine]\nmax_memory_mib = 256', 'machine.default_memory_mib: is above machine.max_memory_mib'],
    ['[machine]\ndefault_vcpus = 4\nmax_vcpus = 2', 'machine.default_vcpus: is above machine.max_vcpus'],
    ['[jail]\nfirst_uid = 4294967290', 'jail.uid_count: the range ends beyond'],
  ])('%j', (text, message) => {
    expect(() => one(text)).toThrow(message);
  });

  test('a mistake is told with the drop-in that holds it', () => {
    const files = [
      { path: '/c.toml', text: '' },
      { path: '/c.d/9.toml', text: 'x = 1' },
    ];
    expect(() => parseConfig(files)).toThrow('read /c.d/9.toml: x: unknown key');
  });

  test('names of the language are no keys', () => {
    expect(() => one('[__proto__]\nprofile = "x"')).toThrow();
    expect(() => one('[machine]\n__proto__ = 1')).toThrow();
    expect(({} as { profile?: unknown }).profile).toBeUndefined();
  });
});

test('the nearest name is near', () => {
  expect(nearest('deafult', ['default', 'x'])).toBe('default');
  expect(nearest('abc', ['xyz'])).toBeUndefined();
  expect(nearest('x'.repeat(1000), ['x'])).toBeUndefined();
});

test('sizes are brought into what the host can hold', () => {
  const host = { memoryBytes: 1024 * 2 ** 20, cpus: 2 };
  expect(sizePolicy(one(''), host)).toMatchObject({ maxMemoryMib: 960, maxVcpus: 2, defaultMemoryMib: 512 });
  const asked = one('[machine]\ndefault_memory_mib = 4096\ndefault_vcpus = 8\nmax_vcpus = 16');
  expect(sizePolicy(asked, host)).toMatchObject({ defaultMemoryMib: 960, maxVcpus: 16, defaultVcpus: 8 });
  expect(sizePolicy(one('[machine]\nmax_memory_mib = 1000000'), host).maxMemoryMib).toBe(1024);
});
