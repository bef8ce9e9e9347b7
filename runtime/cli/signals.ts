/** Signals by name or number, as `kill` and `--stop-signal` take them. */
import { constants } from 'node:os';
import { Code, TskataError } from '../../agent/protocol/errors.ts';

const MAX_SIGNAL = 64;

/** The number of "TERM", "SIGTERM", "15" or "RTMIN+1". */
export function parseSignal(flag: string, text: string): number {
  const upper = text.toUpperCase().replace(/^SIG/, '');
  const realtime = /^RTMIN\+?(\d*)$/.exec(upper);
  const number = /^\d+$/.test(upper)
    ? Number(upper)
    : realtime
      ? 34 + Number(realtime[1] ?? 0)
      : (constants.signals as Readonly<Record<string, number | undefined>>)[`SIG${upper}`];
  if (number === undefined || number < 1 || number > MAX_SIGNAL) {
    throw new TskataError(Code.InvalidArgument, `${flag} ${text}: not a signal; see kill -l`);
  }
  return number;
}
