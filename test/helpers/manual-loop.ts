/** A loop that a unit test turns by hand: it tells what is watched, and fires what the test says. */
import type { Loop } from '../../agent/sys/sys.ts';

interface Timer {
  readonly due: number;
  readonly fire: () => void;
}

export class ManualLoop implements Loop {
  readonly watches = new Map<number, { events: number; readonly ready: (events: number) => void }>();
  private timers: Timer[] = [];
  private time = 0;

  watch(fd: number, events: number, ready: (events: number) => void): void {
    if (this.watches.has(fd)) throw new Error(`descriptor ${fd} is watched already`);
    this.watches.set(fd, { events, ready });
  }

  rewatch(fd: number, events: number): void {
    const watch = this.watches.get(fd);
    if (watch === undefined) throw new Error(`descriptor ${fd} is not watched`);
    watch.events = events;
  }

  unwatch(fd: number): void {
    if (!this.watches.delete(fd)) throw new Error(`descriptor ${fd} is not watched`);
  }

  timer(delayMs: number, fire: () => void): () => void {
    const timer = { due: this.time + delayMs, fire };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  now(): number {
    return this.time;
  }

  run(): void {}

  stop(): void {}

  /** The descriptor is ready. */
  fire(fd: number, events = 1): void {
    const watch = this.watches.get(fd);
    if (watch === undefined) throw new Error(`descriptor ${fd} is not watched`);
    watch.ready(events);
  }

  /** Time passes; what is due fires, in order. */
  advance(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      const [next] = this.timers.filter((timer) => timer.due <= end).sort((a, b) => a.due - b.due);
      if (next === undefined) break;
      this.timers = this.timers.filter((timer) => timer !== next);
      this.time = Math.max(this.time, next.due);
      next.fire();
    }
    this.time = end;
  }

  get timerCount(): number {
    return this.timers.length;
  }
}
