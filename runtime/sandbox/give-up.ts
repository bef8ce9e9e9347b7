/**
 * Owns what becomes, in the guest, of what the host has given up: a call that was not answered in time may have been
 * carried out all the same. Refuses to know why it was given up.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { DELETE_CALL_MS, QUICK_CALL_MS } from './deadlines.ts';
import type { GuestConnection } from './guest.ts';

const SIGKILL = 9;
const QUICK = { timeoutMs: QUICK_CALL_MS };
/** The agent did not say no: it said nothing. */
const UNANSWERED: ReadonlySet<Code> = new Set([Code.DeadlineExceeded, Code.Unavailable, Code.DataLoss]);

/** Whether nobody knows what the agent has done of a call that failed so. */
export function isUnanswered(error: unknown): boolean {
  return UNANSWERED.has(TskataError.from(error).code);
}

/**
 * Ends a process whose start was given up, should it run: a container's init (empty `execId`) with all that it has
 * started. Never throws: what cannot be ended so ends with its container or its machine.
 */
export async function endInGuest(guest: GuestConnection, containerId: string, execId: string): Promise<void> {
  try {
    await guest.call.signalProcess({ containerId, execId, signal: SIGKILL, all: execId === '' }, QUICK);
    await guest.call.waitProcess({ containerId, execId }, QUICK);
    if (execId !== '') await guest.call.deleteProcess({ containerId, execId }, QUICK);
  } catch {
    // It never came to be, has ended already, or the guest does not answer.
  }
}

/**
 * Takes back a container whose making was given up: by one call, which the agent meets before whatever it is asked next,
 * so that it never concerns a later container of the same id. One that is being made still is undone by the agent itself.
 */
export function takeBackContainer(guest: GuestConnection, containerId: string): void {
  guest.call.deleteContainer({ containerId }, { timeoutMs: DELETE_CALL_MS }).catch(() => undefined);
}

/** Removes a container from the guest; one that runs although the host gave its start up is ended first. */
export async function deleteInGuest(guest: GuestConnection, containerId: string): Promise<void> {
  const remove = () => guest.call.deleteContainer({ containerId }, { timeoutMs: DELETE_CALL_MS });
  try {
    await remove();
  } catch (error) {
    if (TskataError.from(error).code !== Code.FailedPrecondition) throw error;
    await endInGuest(guest, containerId, '');
    await remove();
  }
}
