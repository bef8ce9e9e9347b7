/**
 * QEMU as a confined program: what its root holds, by which path, and nothing more. It knows the command line's paths
 * and the host's files; how a root is made is the process host's business.
 */

import type { ChildBind, ChildSpec } from '../vm/process-host.ts';
import type { VmConfig } from '../vm/vm.ts';
import { type CommandLine, JAIL_INITRD, JAIL_KERNEL, JAIL_MEMORY, JAIL_SOCKETS } from './cmdline.ts';
import type { QemuProgram } from './host-facts.ts';

/** Host paths that one machine's QEMU sees beside its program. */
export interface QemuFiles {
  readonly config: VmConfig;
  readonly socketDirectory: string;
  /** Copy of a saved machine's memory. */
  readonly memoryFile: string | undefined;
  readonly accelerator: 'kvm' | 'tcg';
}

/** QEMU with its root. Its user is the sandbox's own, without any capability; it has no network. */
export function qemuSpec(program: QemuProgram, line: CommandLine, files: QemuFiles): ChildSpec {
  const binds: ChildBind[] = [
    ...program.binds,
    { source: files.config.kernel, target: JAIL_KERNEL, readOnly: true },
    { source: files.config.initrd, target: JAIL_INITRD, readOnly: true },
    { source: files.socketDirectory, target: JAIL_SOCKETS, readOnly: true },
  ];
  if (files.memoryFile !== undefined) binds.push({ source: files.memoryFile, target: JAIL_MEMORY, readOnly: false });
  if (files.accelerator === 'kvm') {
    binds.push({ source: '/dev/kvm', target: '/dev/kvm', readOnly: false, device: true });
  }
  return {
    name: 'qemu',
    executable: program.executable,
    args: line.args,
    descriptors: line.descriptors,
    log: 'stderr',
    jail: {
      binds,
      network: 'none',
      proc: false,
      newPidNamespace: true,
      keepCapabilities: [],
      additionalGids: [],
    },
  };
}
