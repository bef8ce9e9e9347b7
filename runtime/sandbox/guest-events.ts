/**
 * Owns the long poll by which a guest reports what nobody asked for. Exits are not taken from it: each process has a
 * Wait of its own. Everything in an answer is looked up, nothing is believed.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Logger } from '../host/log.ts';
import { EVENTS_CALL_MS } from './deadlines.ts';
import type { GuestConnection } from './guest.ts';

/** Least time between two polls that brought nothing: an agent that answers at once must not keep the host busy. */
const MIN_EMPTY_POLL_MS = 1_000;

/** Polls until the connection ends or the agent has no such call. */
export async function followGuestEvents(
  guest: GuestConnection,
  onOom: (containerId: string, kills: bigint) => void,
  log: Logger,
): Promise<void> {
  let after = 0n;
  for (;;) {
    const startedMs = performance.now();
    let seen = after;
    try {
      const { events } = await guest.call.nextEvents({ after }, { timeoutMs: EVENTS_CALL_MS });
      for (const event of events) {
        if (event.sequence <= seen) continue;
        seen = event.sequence;
        if (event.oom !== undefined) onOom(event.containerId, event.oom.kills);
      }
    } catch (caught) {
      const error = TskataError.from(caught);
      if (error.code !== Code.DeadlineExceeded) {
        log.debug('guest events ended', { error: error.message });
        return;
      }
    }
    if (seen === after) await pause(MIN_EMPTY_POLL_MS - (performance.now() - startedMs), guest);
    after = seen;
  }
}

/** Waits, but not beyond the connection. */
async function pause(timeMs: number, guest: GuestConnection): Promise<void> {
  if (timeMs <= 0) return;
  let timer: NodeJS.Timeout | undefined;
  const waited = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeMs);
  });
  await Promise.race([waited, guest.closed]);
  clearTimeout(timer);
}
