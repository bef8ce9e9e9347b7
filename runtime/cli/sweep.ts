/**
 * Cleans up after shims that died: what containerd would do with the shim's `delete`; and after runs that died before
 * there was a record. Every verb that looks at containers does it first, so that what a crash left goes with the next
 * command.
 */
import { readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { TskataError } from '../../agent/protocol/errors.ts';
import { ABANDONED, DETACHED } from '../oci/annotations.ts';
import { isAlive } from '../state/process-ref.ts';
import type { ContainerRecord } from '../state/record.ts';
import { containerFiles, removeContainerFiles } from './container-files.ts';
import type { CliContext } from './context.ts';
import { deleteDeadShim, LOST_STATUS } from './dead-shim.ts';
import { forgetDeadClaims } from './name-claim.ts';
import { records } from './names.ts';
import { collectGarbage } from './native.ts';
import { findOrphans } from './orphans.ts';

/** What happened to one container. */
export interface Swept {
  readonly id: string;
  /** Why it could not be cleaned up. */
  readonly problem?: string;
}

/** What every verb does first: forgets what dead shims and dead runs left. Never throws. */
export async function sweep(context: CliContext): Promise<void> {
  await sweepDeadShims(context);
  await forgetDeadClaims(context);
  if (hasDeadGroups(context)) await collectGarbage(context.programs, context.runRoot).catch(() => []);
  for (const path of await findOrphans(context))
    await rm(path, { recursive: true, force: true }).catch(() => undefined);
}

/** Whether a keeper has ended without removing its cgroups, whose list is named by its number and start time. */
function hasDeadGroups({ runRoot }: CliContext): boolean {
  try {
    return readdirSync(join(runRoot, 'cgroups')).some((name) => {
      const [pid, startTicks] = name.split('-').map(Number);
      return pid !== undefined && startTicks !== undefined && !isAlive({ pid, startTicks });
    });
  } catch {
    // Nothing has been in a group yet.
    return false;
  }
}

/** Ends and forgets what dead shims left. Never throws. */
export async function sweepDeadShims(context: CliContext): Promise<Swept[]> {
  const lost = records(context).filter((record) => record.status !== 'stopped' && !isAlive(record.shim));
  return await Promise.all(lost.map((record) => sweepOne(context, record)));
}

async function sweepOne(context: CliContext, record: ContainerRecord): Promise<Swept> {
  const files = containerFiles(context, record.id);
  try {
    await deleteDeadShim(context, record.id, record.bundle);
    const fate = record.annotations[DETACHED] ?? record.annotations[ABANDONED];
    if (fate === 'remove') await removeContainerFiles(files);
    else {
      await rm(files.scratchFile, { force: true });
      const reason = 'the shim of the container died';
      const exit = { status: LOST_STATUS, at: new Date().toISOString(), oomKilled: false, reason };
      context.state.write({ ...record, status: 'stopped', exit });
    }
    return { id: record.id };
  } catch (error) {
    return { id: record.id, problem: TskataError.from(error).message };
  }
}
