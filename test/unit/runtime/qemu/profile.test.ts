/** Machine profiles: the real ones are good, wrong ones are refused with the path of what is wrong. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadProfile, parseProfile } from '../../../../runtime/qemu/profile.ts';

const CONFIGS = join(import.meta.dirname, '../../../../qemu-configs');
const good = JSON.parse(await readFile(join(CONFIGS, 'q35-tcg.json'), 'utf8'));

describe('profiles', () => {
  it('are all readable, and named after machine, accelerator, and how the agent is reached', async () => {
    const files = (await readdir(CONFIGS)).filter((name) => name.endsWith('.json'));
    expect(files).toHaveLength(5);
    for (const file of files) {
      const profile = await loadProfile(CONFIGS, file.replace('.json', ''));
      const transport = profile.agentTransport === 'serial' ? '' : `-${profile.agentTransport}`;
      expect(profile.name).toBe(`${profile.machine}-${profile.accelerator}${transport}`);
    }
  });

  it.each([
    [{ ...good, extra: 1 }, /\$: Unrecognized key: "extra"/],
    [{ ...good, cpu: { ...good.cpu, nested: true } }, /\$\.cpu: Unrecognized key: "nested"/],
    [{ ...good, accelerator: 'hvf' }, /\$\.accelerator/],
    [{ ...good, machineOptions: { 'a,b': 'on' } }, /\$\.machineOptions\.a,b/],
    [{ ...good, machineOptions: { usb: 'off,accel=kvm' } }, /\$\.machineOptions\.usb/],
    [{ ...good, kernelParameters: ['quiet', 'a b'] }, /\$\.kernelParameters\[1\]/],
    [{ ...good, firmware: '../../etc/passwd' }, /\$\.firmware/],
    [{ ...good, agentTransport: 'tcp' }, /\$\.agentTransport/],
    [{ ...good, bootTimeoutMs: 0 }, /\$\.bootTimeoutMs/],
  ])('refuses %#', (value, message) => {
    expect(() => parseProfile('test', JSON.stringify(value))).toThrow(message);
  });

  it('refuses what is not JSON, and what does not exist', async () => {
    expect(() => parseProfile('test', '{')).toThrow(/machine profile test: not JSON/);
    await expect(loadProfile(CONFIGS, 'q36')).rejects.toThrow(/no readable file/);
  });
});
