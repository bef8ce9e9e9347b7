import { describe, expect, test } from 'vitest';
import { podRole } from '../../../../runtime/oci/pod.ts';
import type { Spec } from '../../../../runtime/oci/spec.ts';
import { planNamespaces } from '../../../../runtime/sandbox/namespaces.ts';

const CONTAINERD = 'io.kubernetes.cri.container-type';
const NEIGHBOURS = [
  { id: 'pod', pid: 100 },
  { id: 'app', pid: 200 },
];

type Namespaces = NonNullable<NonNullable<Spec['linux']>['namespaces']>;

const spec = (namespaces: Namespaces, type?: string): Spec => ({
  ociVersion: '1.0.2',
  linux: { namespaces },
  ...(type === undefined ? {} : { annotations: { [CONTAINERD]: type } }),
});

describe('the role in a pod', () => {
  test('is said by the annotations of containerd and of CRI-O', () => {
    expect(podRole({ [CONTAINERD]: 'sandbox' })).toBe('sandbox');
    expect(podRole({ 'io.kubernetes.cri-o.ContainerType': 'container' })).toBe('container');
    expect(podRole({ [CONTAINERD]: 'other' })).toBe('none');
    expect(podRole()).toBe('none');
  });
});

describe('namespaces', () => {
  test('of a single container are its own, but for the network', () => {
    const all = (['pid', 'network', 'ipc', 'uts', 'mount'] as const).map((type) => ({ type }));
    expect(planNamespaces(spec(all), [])).toEqual({ own: ['pid', 'ipc', 'uts', 'mount'], pidNamespaceOf: '' });
  });

  test("of a pod's sandbox container are the machine's, but for processes and mounts", () => {
    const all: Namespaces = [
      { type: 'pid' },
      { type: 'network', path: '/run/netns/x' },
      { type: 'ipc' },
      { type: 'uts' },
    ];
    expect(planNamespaces(spec([...all, { type: 'mount' }], 'sandbox'), [])).toMatchObject({ own: ['pid', 'mount'] });
  });

  test("of a pod's container are those of its sandbox container where a path says so", () => {
    const joined = (['ipc', 'uts', 'network'] as const).map((type) => ({ type, path: `/proc/100/ns/${type}` }));
    expect(planNamespaces(spec([...joined, { type: 'pid' }, { type: 'mount' }], 'container'), NEIGHBOURS)).toEqual({
      own: ['pid', 'mount'],
      pidNamespaceOf: '',
    });
  });

  test('of processes are found by the process that stands for a container', () => {
    const of = (path: string) => planNamespaces(spec([{ type: 'pid', path }], 'container'), NEIGHBOURS).pidNamespaceOf;
    expect(of('/proc/100/ns/pid')).toBe('pod');
    expect(of('/proc/200/ns/pid')).toBe('app');
    expect(() => of('/proc/1/ns/pid')).toThrow("linux.namespaces[0].path: '/proc/1/ns/pid' is of no container");
    expect(() => of('/run/pidns/x')).toThrow('is of no container of this sandbox');
  });

  test("of the node's processes are those of the pod, and of a single container its own", () => {
    expect(planNamespaces(spec([{ type: 'mount' }], 'container'), NEIGHBOURS).pidNamespaceOf).toBe('pod');
    expect(planNamespaces(spec([{ type: 'mount' }]), []).pidNamespaceOf).toBe('');
  });
});
