import { describe, expect, test } from 'vitest';
import { parseSpec } from '../../../../runtime/oci/validate.ts';
import { readOptions } from '../../../../runtime/sandbox/config.ts';
import { machineSize, sandboxLimits } from '../../../../runtime/sandbox/machine-size.ts';
import { testPolicies } from '../../../helpers/policies.ts';

const { annotations: OURS, sizes: SIZES } = testPolicies('command');

function spec(more: object): ReturnType<typeof parseSpec> {
  return parseSpec('config.json', { ociVersion: '1.1.0', process: { args: ['x'], cwd: '/' }, ...more });
}

describe('a single container', () => {
  const size = (resources: object, annotations = {}, sizes = SIZES) =>
    machineSize(sandboxLimits(spec({ linux: { resources } })), readOptions(annotations, OURS), sizes);

  test('gets what it may use, and never less than the default', () => {
    expect(size({})).toEqual({ memoryMib: 512, vcpus: 1 });
    expect(size({ memory: { limit: 2 ** 30 } })).toEqual({ memoryMib: 1024 + 128, vcpus: 1 });
    expect(size({ memory: { limit: 2 ** 20 } }).memoryMib).toBe(512);
    expect(size({ memory: { limit: 2 ** 63 } }).memoryMib).toBe(512);
    expect(size({ memory: { limit: -1 } }).memoryMib).toBe(512);
  });

  test('keeps the default memory with a limit on CPU alone', () => {
    expect(size({ cpu: { quota: 250_000, period: 100_000 } })).toEqual({ memoryMib: 512, vcpus: 3 });
    expect(size({ cpu: { quota: 250_000 } }).vcpus).toBe(3);
    expect(size({ cpu: { quota: -1 } }).vcpus).toBe(1);
  });

  test('what a limit asks for is brought within the host; what an annotation asks for is refused', () => {
    const small = { ...SIZES, maxMemoryMib: 1024, maxVcpus: 2 };
    expect(size({ memory: { limit: 2 ** 34 }, cpu: { quota: 900_000 } }, {}, small)).toEqual({
      memoryMib: 1024,
      vcpus: 2,
    });
    expect(() => size({}, { 'io.tskata.sandbox.memory': '2048' }, small)).toThrow(
      "annotations['io.tskata.sandbox.memory']: 2048, but this host allows 128 to 1024; ask for less",
    );
    expect(() => size({}, { 'io.tskata.sandbox.memory': '100' }, small)).toThrow('ask for more');
    expect(() => size({}, { 'io.tskata.sandbox.vcpus': '3' }, small)).toThrow('allows 1 to 2');
  });

  test('annotations decide', () => {
    const asked = { 'io.tskata.sandbox.memory': '200', 'io.tskata.sandbox.vcpus': '2' };
    expect(size({ memory: { limit: 2 ** 30 } }, asked)).toEqual({ memoryMib: 200, vcpus: 2 });
  });
});

describe('a pod', () => {
  const limits = (annotations: Record<string, string>) =>
    sandboxLimits(
      spec({
        annotations: { 'io.kubernetes.cri.container-type': 'sandbox', ...annotations },
        // The pause container's own, which say nothing about the pod.
        linux: { resources: { memory: { limit: 2 ** 40 }, cpu: { shares: 2, quota: 1000 } } },
      }),
    );

  test("is as large as CRI's annotations say", () => {
    const cri = {
      'io.kubernetes.cri.sandbox-cpu-period': '50000',
      'io.kubernetes.cri.sandbox-cpu-quota': '125000',
      'io.kubernetes.cri.sandbox-cpu-shares': '2048',
      'io.kubernetes.cri.sandbox-memory': String(3 * 2 ** 30),
    };
    expect(limits(cri)).toEqual({ memoryBytes: 3 * 2 ** 30, cpus: 2.5, cpuShares: 2048 });
    expect(machineSize(limits(cri), readOptions({}, OURS), SIZES)).toEqual({ memoryMib: 3 * 1024 + 128, vcpus: 3 });
  });

  test("of CRI-O is a pod as well: the limits of its first container are not the pod's", () => {
    const linux = { resources: { memory: { limit: 2 ** 34 }, cpu: { shares: 2 } } };
    const annotations = { 'io.kubernetes.cri-o.ContainerType': 'sandbox' };
    expect(sandboxLimits(spec({ annotations, linux }))).toEqual({});
  });

  test('without limits, with zeros or with -1, has the default', () => {
    expect(limits({})).toEqual({});
    const none = { 'io.kubernetes.cri.sandbox-cpu-quota': '-1', 'io.kubernetes.cri.sandbox-memory': '0' };
    expect(machineSize(limits(none), readOptions({}, OURS), SIZES)).toEqual({ memoryMib: 512, vcpus: 1 });
  });

  test.each(['', '1e9', '0x10', '1 ', '99999999999999999999', '__proto__'])('refuses %j as a size', (value) => {
    expect(() => limits({ 'io.kubernetes.cri.sandbox-memory': value })).toThrow(
      "annotations['io.kubernetes.cri.sandbox-memory']",
    );
  });
});
