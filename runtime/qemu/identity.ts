/** What a machine is, as far as its saved state depends on it. Reads the kernel; starts nothing. */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { z } from 'zod';
import type { VmConfig } from '../vm/vm.ts';
import { composeCommandLine } from './cmdline.ts';
import type { HostFacts } from './host-facts.ts';
import { kept } from './kept.ts';
import type { MachineProfile } from './profile.ts';
import { fileIdentity } from './programs.ts';
import { hashFile, type SavedIdentity } from './saved.ts';

/** Reads and hashes; some tens of milliseconds, so only saving and restoring ask for it. */
export async function identityOf(profile: MachineProfile, config: VmConfig, facts: HostFacts): Promise<SavedIdentity> {
  // Another address than any that machines get: each has its own, and may change it with a restore.
  const vsock = profile.agentTransport === 'vsock' ? { vsockCid: 0 } : {};
  // Paths of files are not in the line (they are descriptors), so equal machines with other disks are equal here; and
  // who moves a tap's packets is nothing that the guest's card knows.
  const host = { hostTscKhz: facts.tscKhz, hostDevices: new Set<string>(), vhostNet: false, ...vsock };
  const line = composeCommandLine({ profile, config, ...host });
  const [kernelSha256, initrdSha256] = await Promise.all([
    keptHash(facts.cacheDirectory, 'kernel', config.kernel),
    keptHash(facts.cacheDirectory, 'initrd', config.initrd),
  ]);
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

/** Kernel and initrd are the same for every machine of an installation. */
async function keptHash(cacheDirectory: string, what: string, file: string): Promise<string> {
  return kept(path.join(cacheDirectory, `sha256-${what}.json`), await fileIdentity(file), z.string(), () =>
    hashFile(file),
  );
}
