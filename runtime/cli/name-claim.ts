/**
 * The claim of a name or an id by a `run` that has no record yet: of several that ask for one name at the same time, one
 * gets it, and what lies under a claimed id is being made. Once the container is created its record carries both; a
 * claim is only looked at beside it.
 */
import { join } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { isLocked, removeDeadLocks, tryLock } from '../image/store/lock.ts';
import { NAME as NAME_ANNOTATION } from '../oci/annotations.ts';
import type { CliContext } from './context.ts';
import { records } from './names.ts';

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/** No namespace begins with a dot. */
function claims(context: CliContext): string {
  return join(context.runRoot, '.names');
}

/**
 * Claims a name for this process; the result gives it back.
 * @throws TskataError InvalidArgument, or AlreadyExists with its holder
 */
export async function claimName(context: CliContext, name: string): Promise<() => Promise<void>> {
  if (!NAME.test(name))
    throw new TskataError(Code.InvalidArgument, `--name ${name}: use letters, digits, '_', '.' and '-', at most 64`);
  const claim = await tryLock(claims(context), lockName(context, name));
  const holder = records(context).find((record) => record.annotations[NAME_ANNOTATION] === name);
  if (typeof claim !== 'number' && holder === undefined) return claim;
  if (typeof claim !== 'number') await claim();
  const fact =
    holder === undefined
      ? `process ${claim} is starting a container with it; choose another name`
      : `container ${holder.id.slice(0, 12)} has it; 'tskata rm ${name}' frees it`;
  throw new TskataError(Code.AlreadyExists, `--name ${name}: ${fact}`);
}

/** Claims a fresh id for this process; the result gives it back. */
export async function claimId(context: CliContext, id: string): Promise<() => Promise<void>> {
  const claim = await tryLock(claims(context), lockName(context, id));
  if (typeof claim === 'number') throw new Error(`id ${id} is in use by process ${claim}`);
  return claim;
}

/** Whether a living process has claimed it. */
export function isClaimed(context: CliContext, nameOrId: string): Promise<boolean> {
  return isLocked(claims(context), lockName(context, nameOrId));
}

/** Neither part can hold an '@'. */
function lockName(context: CliContext, nameOrId: string): string {
  return `${context.namespace}@${nameOrId}`;
}

/** Forgets the claims of dead processes; returns their names. */
export function forgetDeadClaims(context: CliContext): Promise<string[]> {
  return removeDeadLocks(claims(context));
}
