/**
 * Owns the long poll by which a guest reports what nobody asked for. Exits are not taken from it: each process has a
 * Wait of its own. Everything in an answer is looked up, nothing is believed.
 */
import { setTimeout } from 'node:timers/promises';
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
  const over = new AbortController();
  void guest.closed.then(() => over.abort());
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
    const early = MIN_EMPTY_POLL_MS - (performance.now() - startedMs);
    // A connection that ends meanwhile ends the next poll.
    if (seen === after && early > 0) await setTimeout(early, undefined, { signal: over.signal }).catch(() => undefined);
    after = seen;
  }
}
