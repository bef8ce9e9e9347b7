/** The configuration file, as `tskata run` and its shim go by it. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Tskata } from '../../helpers/tskata.ts';

describe('a configuration', () => {
  let tskata: Tskata;
  let file: string;

  beforeAll(async () => {
    tskata = await Tskata.withBusybox();
    file = join(tskata.directory, 'config.toml');
  });
  afterEach(() => expect(tskata.leaks()).toEqual([]));
  afterAll(() => tskata.dispose());

  /** Runs with this text as the configuration. */
  const run = (text: string, ...args: string[]) => {
    writeFileSync(file, text, { mode: 0o644 });
    return tskata.call(['--runtime-config-path', file, 'run', ...args]);
  };

  it('with a mistake is refused by file and key, before anything is made', async () => {
    const cases = [
      ['[machine]\nkernle = "/x"', `read ${file}: machine.kernle: unknown key; did you mean "kernel"?`],
      ['[machine]\ndefault_vcpus = 1000', 'machine.default_vcpus: Too big'],
      ['[machine', `read ${file}: line 1`],
    ] as const;
    for (const [text, message] of cases) {
      const { status, stderr } = await run(text, '--rm', 'busybox', 'true');
      expect(status).toBe(125);
      expect(stderr).toContain(message);
    }
    const doctor = await tskata.call(['--runtime-config-path', file, 'doctor', '--json']);
    expect(doctor.status).toBe(1);
    const { checks } = JSON.parse(doctor.stdout) as { checks: { name: string; state: string; fact: string }[] };
    expect(checks.find(({ name }) => name === 'configuration')).toMatchObject({
      state: 'problem',
      fact: expect.stringContaining(`read ${file}: line 1`),
    });
    const none = await tskata.call(['--runtime-config-path', '/none.toml', 'run', '--rm', 'busybox', 'true']);
    expect(none.stderr).toContain('read /none.toml: no such file');
  });

  it('sizes the machine, chooses the network, and can do without a group of the host', async () => {
    const text = [
      '[machine]\ndefault_memory_mib = 320\naccelerator = "tcg"',
      '[network]\ndefault_network = "none"',
      '[jail]\nfirst_uid = 1234000\nuid_count = 1000',
      '[cgroup]\nenabled = false',
    ].join('\n');
    const id = (await run(text, '-d', 'busybox', 'sleep', '1000')).stdout.trim();
    try {
      const inside = await tskata.ok('exec', id, 'sh', '-c', 'grep MemTotal /proc/meminfo; ls /sys/class/net');
      const total = Number(inside.match(/MemTotal:\s+(\d+)/)?.[1]) / 1024;
      expect(total).toBeGreaterThan(250);
      expect(total).toBeLessThanOrEqual(320);
      expect(inside.split('\n').slice(1)).toEqual(['lo']);
      const qemu = tskata.record(id).qemu?.pid;
      expect(readFileSync(`/proc/${qemu}/cgroup`, 'utf8')).not.toContain(id);
      const uid = Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${qemu}/status`, 'utf8'))?.[1]);
      expect(uid).toBeGreaterThanOrEqual(1_234_000);
      expect(uid).toBeLessThan(1_235_000);
    } finally {
      await tskata.ok('rm', '-f', id);
    }
  });

  it('bounds what an annotation may ask for', async () => {
    const asked = ['--annotation', 'io.tskata.sandbox.memory=2048', '--network', 'none'];
    const { status, stderr } = await run('[machine]\nmax_memory_mib = 1024', ...asked, '--rm', 'busybox', 'true');
    expect(status).toBe(125);
    expect(stderr).toContain("annotations['io.tskata.sandbox.memory']: 2048, but this host allows 128 to 1024");
  });

  it('names another kernel; one that is missing is told, and leaves nothing', async () => {
    const { status, stderr } = await run(
      '[machine]\nkernel = "/none/vmlinux"',
      '--network',
      'none',
      '--rm',
      'busybox',
      'true',
    );
    expect(status).toBe(125);
    expect(stderr).toContain('guest kernel /none/vmlinux is missing');
  });

  it("refuses a bundle's annotations that are the command's own", async () => {
    const bundle = join(tskata.directory, 'bundle');
    mkdirSync(join(bundle, 'rootfs'), { recursive: true });
    const hostile = join(tskata.directory, 'hostile');
    const config = {
      ociVersion: '1.1.0',
      process: { args: ['/bin/true'], cwd: '/' },
      root: { path: 'rootfs' },
      annotations: { 'io.tskata.log.path': hostile },
    };
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
    const { status, stderr } = await run('', '--rm', '--bundle', bundle);
    expect(status).toBe(125);
    expect(stderr).toContain('annotations io.tskata.log.path: names under io.tskata. are set by flags');
    expect(existsSync(hostile)).toBe(false);
  });
});
