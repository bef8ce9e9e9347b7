/**
 * Owns which kernel parameters a container may set, and the steps that set them. Only parameters of a namespace pass
 * (OCI config-linux.md, "sysctl"): the others would change the kernel under every container of the sandbox.
 */
import { utf8 } from '../../sys/structs.ts';
import type { PlanBuilder } from './builder.ts';

const IPC = new Set([
  'kernel.msgmax',
  'kernel.msgmnb',
  'kernel.msgmni',
  'kernel.sem',
  'kernel.shmall',
  'kernel.shmmax',
  'kernel.shmmni',
  'kernel.shm_rmid_forced',
]);

/** Whether the kernel keeps this parameter per namespace. */
export function isNamespacedSysctl(key: string): boolean {
  return IPC.has(key) || key.startsWith('fs.mqueue.') || key.startsWith('net.') || key === 'kernel.domainname';
}

/** The form of a key: parts of letters, digits, "_", "-", joined by "." or "/"; never "..". */
export function isSysctlKey(key: string): boolean {
  return key.length <= 256 && /^[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)+$/.test(key);
}

/** The file of a key. As in sysctl(8), the first separator decides: with "/" first, dots belong to the names. */
export function sysctlPath(key: string): string {
  const first = /[./]/.exec(key)?.[0];
  const path = first === '/' ? key : key.replace(/[./]/g, (separator) => (separator === '.' ? '/' : '.'));
  return `/proc/sys/${path}`;
}

/** Must run with the guest's own /proc, in the container's namespaces: the files act on the writer's namespaces. */
export function sysctlSteps(plan: PlanBuilder, sysctls: ReadonlyMap<string, string>): void {
  for (const [key, value] of sysctls) plan.write(`write sysctl ${key}`, sysctlPath(key), utf8(value));
}
