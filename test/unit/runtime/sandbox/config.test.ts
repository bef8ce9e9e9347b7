import { describe, expect, test } from 'vitest';
import { ContainerSpec } from '../../../../agent/protocol/generated/agent.ts';
import * as names from '../../../../runtime/oci/annotations.ts';
import type { Spec } from '../../../../runtime/oci/spec.ts';
import { parseSpec } from '../../../../runtime/oci/validate.ts';
import { readOptions } from '../../../../runtime/sandbox/config.ts';
import { containerSpecMessage } from '../../../../runtime/sandbox/container-spec.ts';
import { int64, uint64 } from '../../../../runtime/sandbox/wide-int.ts';
import { testPolicies } from '../../../helpers/policies.ts';

const { annotations: OURS } = testPolicies('command');

function spec(more: object = {}): Spec {
  return parseSpec('config.json', { ociVersion: '1.1.0', process: { args: ['x'], cwd: '/' }, ...more });
}

describe('annotations', () => {
  test('what is allowed is read', () => {
    expect(
      readOptions(
        {
          'io.tskata.network': 'user',
          'io.tskata.publish': '[{"hostIp":"127.0.0.1","hostPort":0,"containerPort":80}]',
          'io.tskata.dns': '["1.1.1.1","::1"]',
          'io.tskata.log.path': '/log',
          'io.tskata.detached': 'remove',
          'io.tskata.sandbox.memory': '256',
          'io.kubernetes.pod.name': 'ignored',
        },
        OURS,
      ),
    ).toEqual({
      network: {
        mode: 'user',
        publish: [{ hostIp: '127.0.0.1', hostPort: 0, containerPort: 80 }],
        nameServers: ['1.1.1.1', '::1'],
      },
      logFile: { path: '/log', maxBytes: 10 * 1024 * 1024 },
      detached: 'remove',
      memoryMib: 256,
    });
  });

  test.each([
    ['io.tskata.netwrok', 'user', 'unknown annotation'],
    ['io.tskata.network', 'host', "'host' is none of none, user"],
    ['io.tskata.publish', '[{"hostPort":70000,"containerPort":1}]', '70000 is not a port'],
    ['io.tskata.publish', '[{"hostPort":1,"containerPort":1,"proto":"udp"}]', "unknown field 'proto'"],
    ['io.tskata.publish', '[null]', 'undefined is not a port'],
    ['io.tskata.dns', '["example.org"]', 'not an IP address'],
    ['io.tskata.log.path', 'relative', 'not an absolute path'],
    ['io.tskata.sandbox.memory', '12GB', 'not a number from'],
    ['io.tskata.sandbox.vcpus', '0', 'not a number from'],
  ])('%s=%s is refused', (name, value, why) => {
    expect(() => readOptions({ [name]: value }, OURS)).toThrow(why);
    expect(() => readOptions({ [name]: value }, OURS)).toThrow(name);
  });
});

describe("annotations in a bundle that is not the command's", () => {
  const { TENANT_ANNOTATIONS: _, RESERVED_PREFIX: __, ...all } = names;

  test.each(Object.values<string>(all))('%s is refused unless it is enabled', (name) => {
    const { annotations } = testPolicies('containerd');
    expect(() => readOptions({ [name]: '512' }, annotations)).toThrow(name);
    const open = testPolicies('containerd', names.TENANT_ANNOTATIONS).annotations;
    if (names.TENANT_ANNOTATIONS.includes(name)) expect(() => readOptions({ [name]: '512' }, open)).not.toThrow();
    else expect(() => readOptions({ [name]: '512' }, open)).toThrow('belongs to the tskata command');
  });

  test('the error says what is enabled, and where', () => {
    const { annotations } = testPolicies('containerd', [names.SANDBOX_VCPUS]);
    expect(() => readOptions({ [names.SANDBOX_MEMORY]: '512' }, annotations)).toThrow(
      "annotations['io.tskata.sandbox.memory']: not enabled on this host (enabled are io.tskata.sandbox.vcpus); see enable_annotations in /etc/tskata/config.toml",
    );
  });

  test('those of others pass, and say nothing', () => {
    const { annotations } = testPolicies('containerd');
    expect(readOptions({ 'io.kubernetes.cri.sandbox-id': 'x', 'io.tskataX': '1' }, annotations)).toEqual({
      network: { mode: 'none', publish: [], nameServers: [] },
    });
  });
});

describe('what the agent is told', () => {
  test('every field of the configuration that it needs, exact to 64 bits', () => {
    const message = ContainerSpec.decode(
      ContainerSpec.encode(
        containerSpecMessage(
          spec({
            hostname: 'h',
            process: {
              args: ['sh', '-c', 'x'],
              cwd: '/w',
              env: ['A=b'],
              user: { uid: 1, gid: 2, additionalGids: [3], umask: 0o27 },
              rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024, hard: 2 ** 64 }],
              capabilities: { bounding: ['CAP_KILL'] },
              noNewPrivileges: true,
              oomScoreAdj: -5,
              scheduler: { policy: 'SCHED_RR', priority: 3, flags: ['SCHED_FLAG_RESET_ON_FORK'] },
              ioPriority: { class: 'IOPRIO_CLASS_IDLE', priority: 7 },
            },
            linux: {
              personality: { domain: 'LINUX32' },
              namespaces: [
                { type: 'pid' },
                { type: 'network' },
                { type: 'ipc', path: '/proc/1/ns/ipc' },
                { type: 'mount' },
              ],
              resources: { memory: { limit: 2 ** 53 }, pids: { limit: 0 }, devices: [{ allow: false, access: 'rwm' }] },
              sysctl: { 'net.ipv4.ip_forward': '1' },
              seccomp: {
                defaultAction: 'SCMP_ACT_ERRNO',
                syscalls: [
                  {
                    names: ['read'],
                    action: 'SCMP_ACT_ALLOW',
                    args: [{ index: 0, value: 2 ** 32, op: 'SCMP_CMP_EQ' }],
                  },
                ],
              },
            },
          }),
          { namespaces: { own: ['pid', 'mount'], pidNamespaceOf: '' }, mounts: [], files: [] },
        ),
      ),
    );
    expect(message.process).toMatchObject({ user: { uid: 1, umask: 0o27 }, noNewPrivileges: true, oomScoreAdj: -5 });
    expect(message.process).toMatchObject({
      scheduler: { policy: 2, flags: 1n, nice: 0, priority: 3, runtimeNs: 0n },
      ioPriority: { ioClass: 3, level: 7 },
      personality: 8,
    });
    expect(message.process?.rlimits).toEqual([{ type: 'RLIMIT_NOFILE', soft: 1024n, hard: 2n ** 64n - 1n }]);
    expect(message.namespaces).toEqual(['pid', 'mount']);
    expect(message.resources).toMatchObject({ memoryLimit: 2n ** 53n, pidsLimit: 0n, cpuShares: undefined });
    expect(message.resources?.devices).toEqual([{ allow: false, type: 'a', major: -1n, minor: -1n, access: 'rwm' }]);
    expect(message.seccomp?.syscalls[0]?.args[0]).toMatchObject({ value: 2n ** 32n, op: 'SCMP_CMP_EQ' });
    expect(message.sysctls).toEqual(new Map([['net.ipv4.ip_forward', '1']]));
  });

  test('numbers that mean "unlimited" come back into range', () => {
    expect(uint64(2 ** 64)).toBe(2n ** 64n - 1n);
    expect(int64(2 ** 63)).toBe(2n ** 63n - 1n);
    expect(int64(-(2 ** 63))).toBe(-(2n ** 63n));
    expect(uint64(2 ** 53 + 2)).toBe(2n ** 53n + 2n);
  });
});
