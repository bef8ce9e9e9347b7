/**
 * A configuration from outside, nearly right, with a fixed seed: it is refused with its JSON path, or everything that is
 * made of it (mounts, options, size of the machine, the message to the guest) holds or is refused with a reason.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { ContainerSpec } from '../../agent/protocol/generated/agent.ts';
import { parseProcess, parseResources, parseSeccomp, parseSpec } from '../../runtime/oci/validate.ts';
import { readOptions } from '../../runtime/sandbox/config.ts';
import { containerSpecMessage } from '../../runtime/sandbox/container-spec.ts';
import { machineSize, sandboxLimits } from '../../runtime/sandbox/machine-size.ts';
import { type ContainerNamespaces, planNamespaces } from '../../runtime/sandbox/namespaces.ts';
import { mountSources, planMounts } from '../../runtime/storage/mounts.ts';
import { hostSource } from '../helpers/host-source.ts';
import { testPolicies } from '../helpers/policies.ts';

const SETTINGS = { seed: 20_260_102, numRuns: 2_000 };

const SECCOMP = {
  defaultAction: 'SCMP_ACT_ERRNO',
  defaultErrnoRet: 1,
  architectures: ['SCMP_ARCH_X86_64'],
  syscalls: [
    { names: ['read'], action: 'SCMP_ACT_ALLOW', args: [{ index: 0, value: 1, valueTwo: 2, op: 'SCMP_CMP_EQ' }] },
  ],
};
const RESOURCES = {
  devices: [{ allow: false, access: 'rwm' }],
  memory: { limit: 1 << 20, swap: -1 },
  cpu: { shares: 1024, quota: 50_000, period: 100_000, cpus: '0-1' },
  pids: { limit: 10 },
  blockIO: { weight: 100, throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 1000 }] },
  unified: { 'memory.high': 'max' },
};
const PROCESS = {
  terminal: true,
  consoleSize: { height: 24, width: 80 },
  user: { uid: 1, gid: 2, additionalGids: [3], umask: 18 },
  args: ['sh'],
  env: ['A=b'],
  cwd: '/',
  capabilities: { bounding: ['CAP_KILL'], ambient: [] },
  rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1, hard: 2 ** 64 }],
  oomScoreAdj: 5,
};
const SPEC = {
  ociVersion: '1.1.0',
  root: { path: 'rootfs', readonly: false },
  process: PROCESS,
  hostname: 'h',
  mounts: [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid'] },
    { destination: '/data', type: 'bind', source: '/srv', options: ['rbind', 'ro'] },
  ],
  annotations: { 'io.tskata.network': 'user', 'io.tskata.publish': '[{"hostPort":1,"containerPort":2}]' },
  linux: {
    namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'user' }, { type: 'network', path: '/proc/1/ns/net' }],
    uidMappings: [{ containerID: 0, hostID: 1000, size: 10 }],
    gidMappings: [{ containerID: 0, hostID: 1000, size: 10 }],
    devices: [{ path: '/dev/x', type: 'c', major: 1, minor: 3, fileMode: 438 }],
    resources: RESOURCES,
    seccomp: SECCOMP,
    sysctl: { 'kernel.msgmax': '1' },
    maskedPaths: ['/proc/kcore'],
  },
};

const strange = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom<unknown>(-1, 0, 1.5, 2 ** 31, 2 ** 53 + 2, 1e300, -1e300, '', '\0', '/', '../..', '__proto__'),
  fc.constant(undefined),
);

/** A copy with some places replaced, dropped or added. */
function damaged(valid: object): fc.Arbitrary<unknown> {
  const change = fc.tuple(fc.array(fc.nat(), { minLength: 1, maxLength: 6 }), strange, fc.string());
  return fc.array(change, { minLength: 1, maxLength: 3 }).map((changes) => {
    const copy = structuredClone(valid);
    for (const [way, value, name] of changes) replace(copy as Record<string, unknown>, way, value, name);
    // As text, so that only JSON is left of it.
    return JSON.parse(JSON.stringify(copy)) as unknown;
  });
}

function replace(node: Record<string, unknown>, way: readonly number[], value: unknown, name: string): void {
  const keys = Object.keys(node);
  const key = keys[(way[0] ?? 0) % (keys.length + 1)] ?? name;
  const child = node[key];
  if (way.length > 1 && typeof child === 'object' && child !== null)
    replace(child as Record<string, unknown>, way.slice(1), value, name);
  else Object.defineProperty(node, key, { value, enumerable: true, configurable: true, writable: true });
}

/** Undefined when it was refused, which must be for a reason of the caller's. */
function accepted<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    expect(error).toBeInstanceOf(TskataError);
    expect([Code.InvalidArgument, Code.Unimplemented]).toContain((error as TskataError).code);
    expect((error as TskataError).message).toMatch(/^\S+: .|annotations\[/);
    return undefined;
  }
}

test('configurations', () => {
  const { annotations, sizes } = testPolicies('command');
  let taken = 0;
  fc.assert(
    fc.property(fc.oneof(damaged(SPEC), fc.constant(SPEC), fc.jsonValue()), (value) => {
      const spec = accepted(() => parseSpec('config.json', value));
      if (spec === undefined) return;
      taken++;
      const options = accepted(() => readOptions(spec.annotations ?? {}, annotations));
      const size = accepted(() => options && machineSize(sandboxLimits(spec), options, sizes));
      if (size !== undefined) {
        expect(size.memoryMib).toBeGreaterThanOrEqual(128);
        expect(size.memoryMib).toBeLessThanOrEqual(1024 * 1024);
        expect(size.vcpus).toBeGreaterThanOrEqual(1);
        expect(size.vcpus).toBeLessThanOrEqual(64);
      }
      accepted(() => {
        const paths = mountSources(spec.mounts ?? []).map(({ path }) => path);
        planMounts(spec.mounts ?? [], 'c1-', new Map(paths.map((path) => [path, hostSource(path)])));
      });
      let namespaces: ContainerNamespaces = { own: [], pidNamespaceOf: '' };
      accepted(() => {
        namespaces = planNamespaces(spec, []);
      });
      const message = ContainerSpec.encode(containerSpecMessage(spec, { namespaces, mounts: [], files: [] }));
      expect(ContainerSpec.decode(message).hostname).toBe(spec.hostname ?? '');
    }),
    SETTINGS,
  );
  // A fuzzer whose input is always refused would test the front door alone.
  expect(taken).toBeGreaterThan(100);
  expect(({} as { id?: unknown }).id).toBeUndefined();
});

test('processes of an exec, resources of an update, seccomp profiles', () => {
  fc.assert(
    fc.property(damaged(PROCESS), damaged(RESOURCES), damaged(SECCOMP), (process, resources, profile) => {
      accepted(() => parseProcess('exec', process));
      accepted(() => parseResources('update', resources));
      accepted(() => parseSeccomp('profile.json', profile));
    }),
    SETTINGS,
  );
});
