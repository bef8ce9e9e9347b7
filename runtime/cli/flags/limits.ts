/** --ulimit, --cpus, --pids-limit, --sysctl. */
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import type { UlimitRequest } from '../../oci/request.ts';

const ULIMITS = new Set([
  'as',
  'core',
  'cpu',
  'data',
  'fsize',
  'locks',
  'memlock',
  'msgqueue',
  'nice',
  'nofile',
  'nproc',
  'rss',
  'rtprio',
  'rttime',
  'sigpending',
  'stack',
]);

/** RLIM_INFINITY (2^64-1) as the nearest JSON number; the agent reads every value from 2^63 on as unlimited. */
const UNLIMITED = 2 ** 64;

/** No Linux has more. */
const MAX_CPUS = 8192;

function refuse(flag: string, text: string, why: string): never {
  throw new TskataError(Code.InvalidArgument, `${flag} ${text}: ${why}`);
}

/** `--ulimit NAME=SOFT[:HARD]`, -1 for unlimited. */
export function parseUlimit(flag: string, text: string): UlimitRequest {
  const match = /^([a-z]+)=(-1|\d+|unlimited)(?::(-1|\d+|unlimited))?$/.exec(text);
  if (!match) refuse(flag, text, 'write NAME=SOFT[:HARD], for instance nofile=1024:4096');
  const [, name = '', soft = '', hard = soft] = match;
  if (!ULIMITS.has(name)) refuse(flag, text, `${JSON.stringify(name)} is not a limit; see getrlimit(2)`);
  const value = (part: string): number => (part === '-1' || part === 'unlimited' ? UNLIMITED : Number(part));
  if (value(hard) > UNLIMITED) refuse(flag, text, 'more than 64 bits hold; write unlimited');
  if (value(soft) > value(hard)) refuse(flag, text, 'the soft limit is above the hard one');
  return { type: `RLIMIT_${name.toUpperCase()}`, soft: value(soft), hard: value(hard) };
}

/** A number of CPUs, fractions allowed. */
export function parseCpus(flag: string, text: string): number {
  const cpus = Number(text);
  if (!/^\d*\.?\d+$/.test(text) || cpus <= 0) refuse(flag, text, 'must be a positive number, for instance 1.5');
  if (cpus < 0.01) refuse(flag, text, 'must be at least 0.01');
  if (cpus > MAX_CPUS) refuse(flag, text, `must be at most ${MAX_CPUS}`);
  return cpus;
}

/** A whole number; -1 and 0 mean no limit. */
export function parsePids(flag: string, text: string): number {
  if (!/^-?\d+$/.test(text)) refuse(flag, text, 'must be a whole number');
  const pids = Number(text);
  if (pids > Number.MAX_SAFE_INTEGER) refuse(flag, text, 'is too large; -1 means no limit');
  return pids <= 0 ? -1 : pids;
}

/** NAME=value pairs. */
export function parsePairs(flag: string, entries: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    entries.map((entry) => {
      const equals = entry.indexOf('=');
      if (equals < 1) refuse(flag, entry, 'write NAME=VALUE');
      return [entry.slice(0, equals), entry.slice(equals + 1)];
    }),
  );
}
