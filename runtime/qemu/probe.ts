/**
 * Finds out what this host can do, once per boot: QEMU, virtiofsd, and whether KVM really runs a guest. The answer about
 * KVM is kept in the run root until the host, QEMU or /dev/kvm is another. It decides nothing; `accelerator.ts` does.
 */
import { access, constants, mkdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { chooseAccelerator, type KvmFacts } from './accelerator.ts';
import type { AcceleratorChoice, HostFacts } from './host-facts.ts';
import { kept } from './kept.ts';
import { hostTscKhz } from './kernel-params.ts';
import { tryAccelerator } from './kvm-trial.ts';
import { fileIdentity, findQemu, findVirtiofsd } from './programs.ts';

const KVM_DEVICE = '/dev/kvm';
const CACHE_FILE = 'accelerator.json';
/** The CPU of the KVM profiles: what a real machine will be started with. */
const KVM_CPU = 'host,pmu=off';

/** Where the answer is kept. */
export interface ProbeOptions {
  /** Directory that a reboot empties. */
  readonly runRoot: string;
  /** "kvm" or "tcg" to override the decision; TSKATA_ACCEL when not given. */
  readonly override?: string;
}

const choiceSchema = z.strictObject({ name: z.enum(['kvm', 'tcg']), reason: z.string() });

/** All that a machine's start needs to know. @throws TskataError failed_precondition without a usable QEMU. */
export async function probeHost(options: ProbeOptions): Promise<HostFacts> {
  const cacheDirectory = path.join(options.runRoot, 'cache');
  await mkdir(cacheDirectory, { recursive: true, mode: 0o700 });
  const [qemu, virtiofsd] = await Promise.all([findQemu(cacheDirectory), findVirtiofsd(cacheDirectory)]);
  const accelerator = await probeAccelerator(options, qemu.executable);
  return { qemu, virtiofsd, accelerator, tscKhz: hostTscKhz(await readClockFacts()), cacheDirectory };
}

/** The accelerator to use, from the cache when it still holds. */
async function probeAccelerator(options: ProbeOptions, qemu: string): Promise<AcceleratorChoice> {
  const override = readOverride(options);
  if (override !== undefined) return chooseAccelerator({ ...(await kvmFacts()), override, trial: undefined });
  const file = path.join(options.runRoot, 'cache', CACHE_FILE);
  const key = [await bootId(), await fileIdentity(qemu), await deviceIdentity()].join('\n');
  return kept(file, key, choiceSchema, async () => chooseAccelerator(await examineKvm(options, qemu)));
}

/** Everything about KVM, with a fresh trial. */
export async function examineKvm(options: ProbeOptions, qemu: string): Promise<KvmFacts> {
  const override = readOverride(options);
  const facts = await kvmFacts();
  if (facts.device !== 'usable') return { ...facts, override, trial: undefined };
  const patient = facts.cpuFlag !== undefined;
  const directory = options.runRoot;
  const trial = await tryAccelerator({ qemu, accelerator: 'kvm', cpu: KVM_CPU, directory, patient });
  return { ...facts, override, trial };
}

function readOverride(options: ProbeOptions): 'kvm' | 'tcg' | undefined {
  const value = options.override ?? process.env.TSKATA_ACCEL;
  return value === 'kvm' || value === 'tcg' ? value : undefined;
}

async function kvmFacts(): Promise<Omit<KvmFacts, 'override' | 'trial'>> {
  const [cpuinfo, modules] = await Promise.all([readText('/proc/cpuinfo'), readText('/proc/modules')]);
  const flags = new Set((/^flags\s*:(.*)$/m.exec(cpuinfo)?.[1] ?? '').trim().split(/\s+/));
  const module = (['kvm_intel', 'kvm_amd', 'kvm'] as const).find((name) => new RegExp(`^${name} `, 'm').test(modules));
  return {
    device: await deviceState(),
    cpuFlag: (['vmx', 'svm'] as const).find((flag) => flags.has(flag)),
    nested: flags.has('hypervisor'),
    module,
  };
}

async function deviceState(): Promise<KvmFacts['device']> {
  try {
    await access(KVM_DEVICE, constants.R_OK | constants.W_OK);
    return 'usable';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'missing' : 'forbidden';
  }
}

async function deviceIdentity(): Promise<string> {
  const found = await stat(KVM_DEVICE).catch(() => undefined);
  if (found === undefined) return 'no device';
  return [found.dev, found.ino, found.rdev, found.mode, found.uid, found.gid].join(':');
}

function bootId(): Promise<string> {
  return readText('/proc/sys/kernel/random/boot_id');
}

async function readClockFacts(): Promise<{ cpuinfo: string; baseFrequency: string }> {
  const [cpuinfo, baseFrequency] = await Promise.all([
    readText('/proc/cpuinfo'),
    readText('/sys/devices/system/cpu/cpu0/cpufreq/base_frequency'),
  ]);
  return { cpuinfo, baseFrequency };
}

/** Empty when it cannot be read: these files only explain. */
function readText(file: string): Promise<string> {
  return readFile(file, 'utf8').catch(() => '');
}
