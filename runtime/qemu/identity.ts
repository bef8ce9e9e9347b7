/** What a machine is, as far as its saved state depends on it. Reads the kernel; starts nothing. */
import { createHash } from 'node:crypto';
import type { VmConfig } from '../vm/vm.ts';
import { composeCommandLine } from './cmdline.ts';
import type { HostFacts } from './host-facts.ts';
import type { MachineProfile } from './profile.ts';
import { hashFile, type SavedIdentity } from './saved.ts';

/** Reads and hashes; some tens of milliseconds, so only saving and restoring ask for it. */
export async function identityOf(profile: MachineProfile, config: VmConfig, facts: HostFacts): Promise<SavedIdentity> {
  // Paths of files are not in the line (they are descriptors), so equal machines with other disks are equal here.
  const line = composeCommandLine({ profile, config, hostTscKhz: facts.tscKhz, hostDevices: new Set() });
  const [kernelSha256, initrdSha256] = await Promise.all([hashFile(config.kernel), hashFile(config.initrd)]);
  return {
    profile: profile.name,
    accelerator: profile.accelerator,
    qemuVersion: facts.qemu.version,
    kernelSha256,
    initrdSha256,
    memoryMib: config.memoryMib,
    vcpus: config.vcpus,
    machineSha256: createHash('sha256').update(JSON.stringify(line.args)).digest('hex'),
  };
}
