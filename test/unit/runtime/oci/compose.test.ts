import { describe, expect, it } from 'vitest';
import { composeSpec } from '../../../../runtime/oci/compose.ts';
import type { ContainerRequest } from '../../../../runtime/oci/request.ts';
import { parseSpec } from '../../../../runtime/oci/validate.ts';

const request: ContainerRequest = {
  id: '0123456789abcdef',
  name: '',
  image: {
    env: ['PATH=/bin', 'A=image'],
    entrypoint: ['/entry'],
    cmd: ['serve'],
    workingDir: '/srv',
    user: 'web',
    stopSignal: '',
  },
  command: [],
  env: [],
  volumes: [],
  tmpfs: [],
  readOnlyRoot: false,
  capAdd: [],
  capDrop: [],
  privileged: false,
  noNewPrivileges: false,
  seccomp: { kind: 'default' },
  ulimits: [],
  sysctls: {},
  shmSizeBytes: 64 * 2 ** 20,
  network: 'none',
  publish: [],
  dns: [],
  annotations: {},
};

describe('composeSpec', () => {
  it('makes what it would itself accept', () => {
    const spec = composeSpec(request);
    expect(parseSpec('config.json', JSON.parse(JSON.stringify(spec)))).toEqual(JSON.parse(JSON.stringify(spec)));
  });

  it('takes the program, directory and user of the image', () => {
    const { process } = composeSpec(request);
    expect(process?.args).toEqual(['/entry', 'serve']);
    expect(process?.cwd).toBe('/srv');
    expect(process?.user.username).toBe('web');
  });

  it('replaces the command but keeps the entrypoint, and drops both for a new entrypoint', () => {
    expect(composeSpec({ ...request, command: ['x'] }).process?.args).toEqual(['/entry', 'x']);
    expect(composeSpec({ ...request, entrypoint: ['/other'] }).process?.args).toEqual(['/other']);
    expect(composeSpec({ ...request, entrypoint: [], command: ['ls'] }).process?.args).toEqual(['ls']);
    expect(() => composeSpec({ ...request, entrypoint: [] })).toThrow('names no program');
  });

  it('lets the later environment win', () => {
    const env = composeSpec({ ...request, env: ['A=flag'] }).process?.env;
    expect(env).toEqual(['PATH=/bin', 'HOSTNAME=0123456789ab', 'A=flag']);
  });

  it('puts a volume in the place of a default mount, parents first', () => {
    const volume = (destination: string) => ({ source: '/s', destination, readOnly: true, propagation: '' });
    const { mounts } = composeSpec({ ...request, volumes: [volume('/a/b/c'), volume('/dev/shm'), volume('/a')] });
    expect(mounts?.filter((mount) => mount.destination === '/dev/shm')).toHaveLength(1);
    expect(mounts?.map((mount) => mount.destination).slice(-3)).toEqual(['/a', '/dev/shm', '/a/b/c']);
  });

  it('gives the default capabilities and profile, and none of it to the privileged', () => {
    const usual = composeSpec(request);
    expect(usual.process?.capabilities?.bounding).toHaveLength(14);
    expect(usual.linux?.seccomp?.defaultAction).toBe('SCMP_ACT_ERRNO');
    expect(usual.linux?.maskedPaths).toContain('/proc/kcore');
    const privileged = composeSpec({ ...request, privileged: true });
    expect(privileged.process?.capabilities?.bounding).toHaveLength(41);
    expect(privileged.linux?.seccomp).toBeUndefined();
    expect(privileged.linux?.maskedPaths).toEqual([]);
  });

  it('drops and adds capabilities', () => {
    const of = (capAdd: string[], capDrop: string[]) =>
      composeSpec({ ...request, capAdd, capDrop }).process?.capabilities?.bounding;
    expect(of(['net_admin'], ['ALL'])).toEqual(['CAP_NET_ADMIN']);
    expect(of(['ALL'], ['CAP_SYS_ADMIN'])).not.toContain('CAP_SYS_ADMIN');
    expect(() => of(['CAP_BOGUS'], [])).toThrow('--cap-add CAP_BOGUS: not a capability');
  });

  it('turns limits into cgroup values', () => {
    const { linux } = composeSpec({ ...request, memoryBytes: 1 << 26, cpus: 1.5, pidsLimit: 10 });
    expect(linux?.resources).toMatchObject({
      memory: { limit: 1 << 26, swap: 1 << 26 },
      cpu: { period: 100_000, quota: 150_000 },
      pids: { limit: 10 },
    });
  });
});
