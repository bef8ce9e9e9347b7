/** The examination of a host: what is there is found, what is missing is a problem with a cure. */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Check, examineHost } from '../../../../runtime/qemu/doctor.ts';

let directory: string;
const byName = (checks: readonly Check[]) => new Map(checks.map((check) => [check.name, check]));

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tskata-doctor-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe('an examination', () => {
  it('explains the accelerator step by step, and names what is not installed', async () => {
    const { accelerator, checks } = await examineHost({ runRoot: directory, libRoot: directory, programs: directory });
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
      const { accelerator, checks } = await examineHost({
        runRoot: directory,
        libRoot: directory,
        programs: directory,
      });
      expect(accelerator).toBeUndefined();
      expect(byName(checks).get('QEMU')).toMatchObject({ state: 'problem', cure: 'apt install qemu-system-x86' });
    } finally {
      delete process.env.TSKATA_QEMU;
    }
  });
});
