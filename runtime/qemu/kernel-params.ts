/**
 * The guest kernel's command line: the profile's parameters with the host's clock rate filled in. Nothing about one
 * sandbox is ever on it, so that one booted machine can become any sandbox. It reads nothing itself.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { MachineProfile } from './profile.ts';

/** Longest line that x86's boot protocol takes (COMMAND_LINE_SIZE is 2048 with the end). */
const MAX_KERNEL_LINE = 2047;
const TSC_PLACEHOLDER = '{hostTscKhz}';

/**
 * Composes the line.
 *
 * @param hostTscKhz rate of the host's time stamp counter, undefined when it could not be told: parameters that need it
 * are left out, and the guest measures by itself.
 */
export function kernelLine(profile: MachineProfile, debug: boolean, hostTscKhz: number | undefined): string {
  const parameters = profile.kernelParameters.flatMap((parameter) => {
    if (!parameter.includes(TSC_PLACEHOLDER)) return [parameter];
    return hostTscKhz === undefined ? [] : [parameter.replace(TSC_PLACEHOLDER, String(hostTscKhz))];
  });
  const verbosity = debug ? ['ignore_loglevel'] : ['quiet'];
  const line = [...parameters, ...verbosity].join(' ');
  if (line.length > MAX_KERNEL_LINE) {
    throw new TskataError(
      Code.InvalidArgument,
      `machine profile ${profile.name}: its kernel line has ${line.length} characters, more than ${MAX_KERNEL_LINE}`,
    );
  }
  return line;
}

/** What the clock rate is read from; files that do not exist are empty. */
export interface ClockFacts {
  /** /proc/cpuinfo. */
  readonly cpuinfo: string;
  /** /sys/devices/system/cpu/cpu0/cpufreq/base_frequency, kHz. */
  readonly baseFrequency: string;
}

/**
 * The rate of the host's time stamp counter in kHz, within about 1 %: the guest refines it against the ACPI timer.
 * In a VM "cpu MHz" is the counter's own rate (there is no frequency scaling to see); on hardware it is the present
 * frequency of a core, so the base frequency and the one in the model's name come first.
 */
export function hostTscKhz(facts: ClockFacts): number | undefined {
  const virtual = /^flags\s*:.*\bhypervisor\b/m.test(facts.cpuinfo);
  const current = Number(/^cpu MHz\s*:\s*([0-9.]+)/m.exec(facts.cpuinfo)?.[1]) * 1000;
  const named = Number(/^model name\s*:.*@\s*([0-9.]+)GHz/m.exec(facts.cpuinfo)?.[1]) * 1_000_000;
  const base = Number.parseInt(facts.baseFrequency, 10);
  const candidates = virtual ? [current, named, base] : [base, named, current];
  const found = candidates.find((khz) => Number.isFinite(khz) && khz > 100_000 && khz < 10_000_000);
  return found === undefined ? undefined : Math.round(found);
}
