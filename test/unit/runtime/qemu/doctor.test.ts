/** The examination of a host: what is there is found, what is missing is a problem with a cure. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Check, type DoctorOptions, examineHost } from '../../../../runtime/qemu/doctor.ts';

let directory: string;
const byName = (checks: readonly Check[]) => new Map(checks.map((check) => [check.name, check]));

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tskata-doctor-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const options = (config: Partial<DoctorOptions['config']> = {}): DoctorOptions => ({
  runRoot: directory,
  libRoot: directory,
  programs: directory,
  config: { users: { first: 200_000, count: 65_536 }, ...config },
});

describe('an examination', () => {
  it('goes by the configuration', async () => {
    const kernel = join(directory, 'kernel');
    await writeFile(kernel, '');
    const users = { first: 0, count: 10 };
    const { accelerator, checks } = await examineHost(options({ accelerator: 'tcg', kernel, users }));
    expect(accelerator).toMatchObject({ name: 'tcg', reason: expect.stringContaining('asks for it') });
    expect(byName(checks).get('guest kernel')).toMatchObject({ state: 'ok', fact: kernel });
    expect(byName(checks).get('users of sandboxes')).toMatchObject({
      state: 'note',
      fact: expect.stringMatching(/^0 to 9 overlap with user root/),
    });
  });

  it('explains the accelerator step by step, and names what is not installed', async () => {
    const { accelerator, checks } = await examineHost(options());
    const found = byName(checks);
    expect(accelerator?.name).toMatch(/^(kvm|tcg)$/);
    for (const step of ['CPU virtualization', 'KVM module', '/dev/kvm', 'test guest under KVM']) {
      expect(found.get(step)?.state, step).toMatch(/^(ok|note)$/);
    }
    const virtual = /^flags\s*:.* (vmx|svm)( |$)/m.test(readFileSync('/proc/cpuinfo', 'utf8'));
    expect(found.get('CPU virtualization')).toMatchObject(
      virtual ? { state: 'ok' } : { state: 'note', cure: expect.stringMatching(/nested virtualization|firmware/) },
    );
    expect(found.get('test guest under KVM')?.state).toBe(accelerator?.name === 'kvm' ? 'ok' : 'note');
    for (const tool of ['QEMU', 'virtiofsd', 'skopeo', 'mkfs.ext4']) {
      expect(found.get(tool), tool).toMatchObject({ state: 'ok' });
    }
    // Nothing is installed in an empty directory.
    expect(found.get('guest kernel')).toMatchObject({ state: 'problem', cure: expect.stringContaining('build') });
    expect(checks.filter((check) => check.state === 'problem' && check.cure === undefined)).toEqual([]);
  });

  it('works without QEMU', async () => {
    process.env.TSKATA_QEMU = '/no/such/qemu';
    try {
      const { accelerator, checks } = await examineHost(options());
      expect(accelerator).toBeUndefined();
      expect(byName(checks).get('QEMU')).toMatchObject({ state: 'problem', cure: 'apt install qemu-system-x86' });
    } finally {
      delete process.env.TSKATA_QEMU;
    }
  });
});
