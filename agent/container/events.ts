/**
 * Owns the numbered list of what happened, for the host's long poll. It is bounded: a host that does not ask loses the
 * oldest.
 */
import type { CancelSignal } from '../protocol/cancel.ts';
import type { Clock } from '../protocol/channel.ts';
import type { Event } from '../protocol/generated/agent.ts';

/** Events kept for a host that has not asked yet. */
const MAX_EVENTS = 1024;

/** An event without its number. */
export type NewEvent = Omit<Event, 'sequence'>;

/** The events of a sandbox. */
export class EventLog {
  private readonly clock: Clock;
  private readonly events: Event[] = [];
  private readonly waiting = new Set<() => void>();
  private last = 0n;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  push(event: NewEvent): void {
    this.last += 1n;
    this.events.push({ ...event, sequence: this.last });
    if (this.events.length > MAX_EVENTS) this.events.shift();
    for (const wake of [...this.waiting]) wake();
  }

  /** Events after a number, as soon as there is one; none when the time is over or the caller is gone. */
  async after(sequence: bigint, timeoutMs: number, signal: CancelSignal): Promise<readonly Event[]> {
    if (this.last <= sequence && !signal.aborted) await this.wait(timeoutMs, signal);
    return this.events.filter((event) => event.sequence > sequence);
  }

  private wait(timeoutMs: number, signal: CancelSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        cancel();
        resolve();
      };
      const cancel = this.clock.timer(timeoutMs, wake);
      this.waiting.add(wake);
      signal.addEventListener('abort', wake);
    });
  }
}
