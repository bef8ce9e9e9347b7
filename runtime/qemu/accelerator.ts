/**
 * The choice between KVM and TCG, and the words for it. A pure function of what was found: the device and the CPU's
 * flags only explain, the trial decides.
 */
import type { AcceleratorChoice } from './host-facts.ts';
import type { TrialResult } from './kvm-trial.ts';

/** What was found about KVM. */
export interface KvmFacts {
  /** What the configuration or TSKATA_ACCEL asks for. */
  readonly override: 'kvm' | 'tcg' | undefined;
  /** State of /dev/kvm. */
  readonly device: 'usable' | 'missing' | 'forbidden';
  /** Virtualization that the CPU announces. */
  readonly cpuFlag: 'vmx' | 'svm' | undefined;
  /** Whether this host is itself a virtual machine. */
  readonly nested: boolean;
  /** Loaded kernel module. */
  readonly module: 'kvm_intel' | 'kvm_amd' | 'kvm' | undefined;
  /** Absent when it was not tried. */
  readonly trial: TrialResult | undefined;
}

/** Decides. */
export function chooseAccelerator(facts: KvmFacts): AcceleratorChoice {
  if (facts.override !== undefined) {
    return {
      name: facts.override,
      reason: `${nameOf(facts.override)}, because the configuration or TSKATA_ACCEL asks for it`,
    };
  }
  if (facts.trial?.ran === true) {
    return { name: 'kvm', reason: `KVM: a test guest ran under it (${facts.trial.elapsedMs} ms)` };
  }
  return { name: 'tcg', reason: `TCG (translation, slower), because KVM is not usable: ${whyNot(facts)}` };
}

/** One step of the decision, for `tskata doctor`. */
export interface DecisionStep {
  readonly name: string;
  readonly good: boolean;
  readonly fact: string;
  /** What to do about it; only when it is not good. */
  readonly cure?: string;
}

/** The decision step by step. */
export function explainAccelerator(facts: KvmFacts): DecisionStep[] {
  return [cpuStep(facts), moduleStep(facts), deviceStep(facts), trialStep(facts)];
}

function whyNot(facts: KvmFacts): string {
  const { trial, device, cpuFlag } = facts;
  const cpu = cpuFlag === undefined ? 'the CPU announces neither vmx nor svm' : `the CPU announces ${cpuFlag}`;
  if (device === 'missing') return `there is no /dev/kvm (${cpu})`;
  if (device === 'forbidden') return '/dev/kvm may not be opened';
  const tried = trial?.ran === false ? trial.reason : 'it was not tried';
  return `/dev/kvm opens, but ${tried} (${cpu})`;
}

function cpuStep(facts: KvmFacts): DecisionStep {
  const name = 'CPU virtualization';
  if (facts.cpuFlag !== undefined) return { name, good: true, fact: `the CPU announces ${facts.cpuFlag}` };
  return {
    name,
    good: false,
    fact: 'the CPU announces neither vmx nor svm',
    cure: facts.nested
      ? 'this host is a virtual machine: turn on nested virtualization in its hypervisor, or take a bare-metal host'
      : 'turn on VT-x or AMD-V (SVM) in the firmware set-up (BIOS)',
  };
}

function moduleStep(facts: KvmFacts): DecisionStep {
  const name = 'KVM module';
  if (facts.module === 'kvm_intel' || facts.module === 'kvm_amd') {
    return { name, good: true, fact: `${facts.module} is loaded` };
  }
  if (facts.device === 'usable') return { name, good: true, fact: 'KVM is built in or provided otherwise' };
  const fact = 'neither kvm_intel nor kvm_amd is loaded';
  // The kernel hides vmx where the firmware forbids it, but not svm: that only shows when the module is loaded.
  const cures = {
    svm: 'modprobe kvm_amd; if that is refused, turn on SVM in the firmware set-up (BIOS)',
    vmx: 'modprobe kvm_intel',
  };
  const cure = facts.cpuFlag === undefined ? 'see the step above: a module cannot help' : cures[facts.cpuFlag];
  return { name, good: false, fact, cure };
}

function deviceStep(facts: KvmFacts): DecisionStep {
  const name = '/dev/kvm';
  switch (facts.device) {
    case 'usable':
      return { name, good: true, fact: 'it opens for reading and writing' };
    case 'missing':
      return { name, good: false, fact: 'it does not exist', cure: missingCure(facts) };
    case 'forbidden':
      return { name, good: false, fact: 'it may not be opened', cure: 'run as root, or join the group of /dev/kvm' };
  }
}

function missingCure(facts: KvmFacts): string {
  const loaded = facts.module === 'kvm_intel' || facts.module === 'kvm_amd';
  if (loaded) return 'the module is there, so this is a container without the device: give it /dev/kvm';
  return 'see the steps above: the module makes it';
}

function trialStep(facts: KvmFacts): DecisionStep {
  const name = 'test guest under KVM';
  const { trial } = facts;
  if (trial === undefined) return { name, good: false, fact: 'not tried', cure: 'cure the steps above first' };
  if (trial.ran) return { name, good: true, fact: `it ran (${trial.elapsedMs} ms)` };
  const cure =
    facts.cpuFlag === undefined
      ? 'KVM cannot work without the CPU: see the first step; until then TCG is used'
      : 'see the kernel log (dmesg | grep -i kvm); another hypervisor may hold the CPU';
  return { name, good: false, fact: trial.reason, cure };
}

function nameOf(accelerator: 'kvm' | 'tcg'): string {
  return accelerator === 'kvm' ? 'KVM' : 'TCG (translation)';
}
