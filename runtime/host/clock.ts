/** Time and timers of Node, for code that has no environment of its own. */
import type { Clock } from '../../agent/protocol/channel.ts';

/** Monotonic milliseconds; timers keep the process alive until they fire or are cancelled. */
export const nodeClock: Clock = {
  now: () => performance.now(),
  timer: (delayMs, fire) => {
    const timer = setTimeout(fire, delayMs);
    return () => clearTimeout(timer);
  },
};
