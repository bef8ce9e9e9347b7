/**
 * Owns every time limit of a sandbox, in milliseconds, with its reason. A guest that does not answer costs at most this.
 */

/** From the start of the virtual CPU to the agent's first answer: some seconds under emulation on a busy host. */
export const BOOT_MS = 60_000;
/** Connecting inside the guest, to a server of its own. */
export const DIAL_CALL_MS = 10_000;
/** Changing the guest's network: the agent waits up to 10 s for a network card that was plugged. */
export const NETWORK_CALL_MS = 20_000;
/** Agent calls that only look something up or send a signal. */
export const QUICK_CALL_MS = 10_000;
/** Making a container: disks may have to be found and mounted under emulation. */
export const CREATE_CALL_MS = 60_000;
/** Starting: the program is read from a disk or share that may be slow. */
export const START_CALL_MS = 30_000;
/** Ending a container: processes are killed and disks written back. */
export const DELETE_CALL_MS = 15_000;
/** Orderly end of a guest before its machine is killed. */
export const DESTROY_CALL_MS = 3_000;
/** One long poll for events; the agent answers empty before it is over. */
export const EVENTS_CALL_MS = 60_000;
/** Output of an ended process that nobody reads: after this the exit is reported and copying goes on. */
export const OUTPUT_DRAIN_MS = 10_000;
/** Output that had arrived when the machine ended. Exits must be known within 1 s. */
export const DEAD_OUTPUT_DRAIN_MS = 500;
/** Output that may still come between the exit and Delete (of orphans that hold the pipe). */
export const DELETE_DRAIN_MS = 2_000;
/** At the end of a sandbox, for the hooks and the outputs of all its containers together. */
export const RELEASE_MS = 10_000;
