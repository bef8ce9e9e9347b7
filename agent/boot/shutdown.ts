/**
 * Owns the orderly end of the guest: containers, then disks, then power. Each has its deadline, the last has none: a
 * guest that was told to end ends.
 */
import type { Sandbox } from '../container/sandbox.ts';
import { RB } from '../sys/linux.ts';
import { reboot } from '../sys/processes.ts';
import type { Loop, Sys } from '../sys/sys.ts';
import type { Log } from './log.ts';

/** Undoing containers: each of its steps has a shorter deadline of its own. */
const DESTROY_TIMEOUT_MS = 20_000;
/** The answer to the host must leave the port before the power goes. */
const POWER_OFF_DELAY_MS = 50;

/** Ends all containers and syncs what is left. */
export async function endSandbox(loop: Loop, sandbox: Sandbox, log: Log): Promise<void> {
  const ending = sandbox.destroy().then(() => sandbox.storages.syncAll());
  let cancel = (): void => {};
  const deadline = new Promise<void>((resolve) => {
    cancel = loop.timer(DESTROY_TIMEOUT_MS, () => {
      log('sandbox did not end in time');
      resolve();
    });
  });
  await Promise.race([ending, deadline]);
  cancel();
}

/** Switches the machine off, shortly. */
export function powerOff(sys: Sys, loop: Loop, log: Log): void {
  log('powering off');
  loop.timer(POWER_OFF_DELAY_MS, () => reboot(sys, RB.POWER_OFF));
}
