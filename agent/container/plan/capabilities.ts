/**
 * Owns the steps that leave a process with exactly the five sets that were asked for
 * (OCI config.md, "capabilities"). Knows nothing of users: `identity.ts` sets them in between.
 */
import { CAPABILITIES } from '../../protocol/capabilities.ts';
import { E } from '../../sys/errno.ts';
import { PR } from '../../sys/linux.ts';
import { words32 } from '../../sys/structs.ts';
import { SYS } from '../../sys/syscalls.ts';
import type { Capabilities } from '../spec.ts';
import type { PlanBuilder } from './builder.ts';

const numbers = new Map(CAPABILITIES.map((name, number) => [name, number]));

/** _LINUX_CAPABILITY_VERSION_3: two 32-bit words per set. */
const VERSION_3 = 0x20080522;

/** Numbers of the names; unknown names are dropped, as a newer host may know more than this kernel. */
function capabilitySet(names: readonly string[]): ReadonlySet<number> {
  const set = new Set<number>();
  for (const name of names) {
    const number = numbers.get(name);
    if (number !== undefined) set.add(number);
  }
  return set;
}

function word(set: ReadonlySet<number>, index: number): number {
  let bits = 0;
  for (const number of set) {
    if (number >> 5 === index) bits |= 1 << (number & 31);
  }
  return bits >>> 0;
}

/** Before the change of user: drops the bounding set, and keeps what is permitted over the change. */
export function boundingSteps(plan: PlanBuilder, capabilities: Capabilities): void {
  const bounding = capabilitySet(capabilities.bounding);
  for (let number = 0; number < CAPABILITIES.length; number += 1) {
    if (bounding.has(number)) continue;
    const label = `drop ${CAPABILITIES[number]} from the bounding set`;
    plan.call(label, SYS.prctl, [PR.CAPBSET_DROP, number, 0, 0, 0], { ignore: [E.EINVAL] });
  }
  plan.call('keep capabilities over the change of user', SYS.prctl, [PR.SET_KEEPCAPS, 1, 0, 0, 0]);
}

/** After the change of user: the other four sets. */
export function capabilitySteps(plan: PlanBuilder, capabilities: Capabilities): void {
  const effective = capabilitySet(capabilities.effective);
  const permitted = capabilitySet(capabilities.permitted);
  const inheritable = capabilitySet(capabilities.inheritable);
  const data: number[] = [];
  for (const index of [0, 1]) data.push(word(effective, index), word(permitted, index), word(inheritable, index));
  plan.call('set capabilities', SYS.capset, [words32(VERSION_3, 0), words32(...data)]);
  plan.call('clear ambient capabilities', SYS.prctl, [PR.CAP_AMBIENT, PR.CAP_AMBIENT_CLEAR_ALL, 0, 0, 0]);
  for (const number of capabilitySet(capabilities.ambient)) {
    // The kernel refuses one that is not permitted and inheritable too; runc goes on as well.
    const label = `raise ambient ${CAPABILITIES[number]}`;
    plan.call(label, SYS.prctl, [PR.CAP_AMBIENT, PR.CAP_AMBIENT_RAISE, number, 0, 0], { ignore: [E.EPERM] });
  }
}
