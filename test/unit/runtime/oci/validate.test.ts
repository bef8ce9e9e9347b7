import { describe, expect, it } from 'vitest';
import { parseProcess, parseSpec } from '../../../../runtime/oci/validate.ts';

const minimal = { ociVersion: '1.0.2', process: { cwd: '/', args: ['sh'] } };

/** The message with which a configuration is refused. */
function refusal(changes: object): string {
  try {
    parseSpec('config.json', { ...minimal, ...changes });
  } catch (error) {
    return (error as Error).message;
  }
  return 'accepted';
}

describe('parseSpec', () => {
  it('accepts a minimal configuration and fills in the user', () => {
    expect(parseSpec('config.json', minimal).process?.user).toEqual({ uid: 0, gid: 0 });
  });

  it.each([
    [{ bogus: 1 }, 'config.json: bogus: unknown field'],
    [{ linux: { resources: { memory: { limt: 5 } } } }, 'config.json: linux.resources.memory.limt: unknown field'],
    [{ mounts: [{ destination: 'proc' }] }, 'config.json: mounts[0].destination: must be an absolute path'],
    [{ mounts: [{ destination: '/a', type: 'bind' }] }, 'config.json: mounts[0].source: is required for a bind'],
    [{ ociVersion: '2.0.0' }, 'config.json: ociVersion: "2.0.0" is not a 1.x version'],
    [{ process: undefined }, 'config.json: process: is required'],
    [{ process: { cwd: '/', args: [] } }, 'config.json: process.args: must name a program'],
    [{ process: { cwd: 'tmp', args: ['a'] } }, 'config.json: process.cwd: must be an absolute path'],
    [{ process: { cwd: '/', args: ['a'], env: ['x'] } }, 'config.json: process.env[0]: must be NAME=value'],
    [{ process: { cwd: '/', args: ['a\0b'] } }, 'config.json: process.args[0]: must not contain a NUL character'],
    [
      { linux: { namespaces: [{ type: 'pid' }, { type: 'pid' }] } },
      'config.json: linux.namespaces[1].type: is there twice',
    ],
    [
      { linux: { namespaces: [{ type: 'user' }] } },
      'config.json: linux.uidMappings: go together with a namespace of type user',
    ],
    [
      { linux: { resources: { memory: { limit: 1.5 } } } },
      'config.json: linux.resources.memory.limit: must be an integer',
    ],
    [
      { linux: { resources: { cpu: { realtimeRuntime: 5 } } } },
      'config.json: linux.resources.cpu.realtimeRuntime: is not supported by the guest (cgroup v2)',
    ],
    [
      { linux: { resources: { rdma: { mlx5: { hcaHandles: 1 } } } } },
      'config.json: linux.resources.rdma: is not supported by the guest (cgroup v2)',
    ],
    [
      { process: { cwd: '/', args: ['a'], scheduler: { policy: 'SCHED_FAST' } } },
      'config.json: process.scheduler.policy: "SCHED_FAST" is not one of ' +
        'SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE, SCHED_DEADLINE',
    ],
    [
      { process: { cwd: '/', args: ['a'], ioPriority: { class: 'IOPRIO_CLASS_BE', priority: 8 } } },
      'config.json: process.ioPriority.priority: must be 0 to 7',
    ],
    [
      { process: { cwd: '/', args: ['a'], execCPUAffinity: { initial: '0' } } },
      'config.json: process.execCPUAffinity: is not supported; use linux.resources.cpu.cpus',
    ],
    [
      { linux: { personality: { domain: 'BSD' } } },
      'config.json: linux.personality.domain: "BSD" is not one of LINUX, LINUX32',
    ],
    [
      { linux: { timeOffsets: { boottime: { secs: 5 } } } },
      'config.json: linux.timeOffsets: is not supported: the clocks of a container are those of its machine',
    ],
    [
      { linux: { intelRdt: { closID: 'a' } } },
      'config.json: linux.intelRdt: the processor of a machine has no resource director',
    ],
  ])('refuses %j', (changes, message) => {
    expect(refusal(changes)).toBe(message);
  });

  it.each([
    [
      { env: [`A=${'é'.repeat(65_535)}`] },
      'process.env[0]: 131072 bytes; at most 131071 can be given to a process: use a file',
    ],
    [
      { args: ['sh', 'x'.repeat(131_072)] },
      'process.args[1]: 131072 bytes; at most 131071 can be given to a process: use a file',
    ],
    [{ env: Array(8_193).fill('A=') }, 'process.env: 8193 entries; at most 8192 can be given to a process'],
    [
      { env: Array(10).fill(`A=${'x'.repeat(65_534)}`) },
      'process.env: 655373 bytes with args; at most 655360 can be given to a process: use a file',
    ],
  ])('refuses what a process cannot be given (%#)', (process, message) => {
    expect(refusal({ process: { cwd: '/', args: ['sh'], ...process } })).toBe(`config.json: ${message}`);
  });

  it('takes the most that a process can be given', () => {
    const env = [...Array(4).fill(`A=${'x'.repeat(131_069)}`), `A=${'x'.repeat(131_063)}`];
    expect(refusal({ process: { cwd: '/', args: ['sh', ''], env } })).toBe('accepted');
  });

  it('shows five problems at most and counts the rest', () => {
    const message = refusal({ a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1 });
    expect(message).toContain('e: unknown field; and 2 more');
  });

  it('takes keys that name parts of the language for what they are', () => {
    const value = JSON.parse(
      '{"ociVersion":"1.0.2","process":{"cwd":"/","args":["sh"]},"__proto__":{"polluted":true}}',
    );
    expect(() => parseSpec('config.json', value)).toThrow('unknown field');
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });
});

describe('parseProcess', () => {
  it('names paths without a prefix', () => {
    expect(() =>
      parseProcess('process.json', { cwd: '/', args: ['a'], rlimits: [{ type: 'RLIMIT_CORE', soft: 2, hard: 1 }] }),
    ).toThrow('process.json: rlimits[0].soft: is above hard');
  });
});
