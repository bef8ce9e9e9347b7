/**
 * Cleans up after shims that died: what containerd would do with the shim's `delete`. Every verb that looks at
 * containers does it first, so that what a crash left goes with the next command.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { TskataError } from '../../agent/protocol/errors.ts';
import { run } from '../host/process.ts';
import { DETACHED } from '../oci/annotations.ts';
import { isAlive } from '../state/process-ref.ts';
import type { ContainerRecord } from '../state/record.ts';
import { containerFiles, removeContainerFiles } from './container-files.ts';
import type { CliContext } from './context.ts';
import { records } from './names.ts';

const DELETE_DEADLINE_MS = 10_000;
/** 128 + SIGKILL: with its machine gone nobody can know better. */
const LOST_STATUS = 137;

/** What happened to one container. */
export interface Swept {
  readonly id: string;
  /** Why it could not be cleaned up. */
  readonly problem?: string;
}

/** Ends and forgets what dead shims left. Never throws. */
export async function sweep(context: CliContext): Promise<Swept[]> {
  const lost = records(context).filter((record) => record.status !== 'stopped' && !isAlive(record.shim));
  return await Promise.all(lost.map((record) => sweepOne(context, record)));
}

async function sweepOne(context: CliContext, record: ContainerRecord): Promise<Swept> {
  const files = containerFiles(context, record.id);
  try {
    await run(
      join(context.programs, 'containerd-shim-tskata-v2'),
      ['-namespace', context.namespace, '-id', record.id, '-address', '', '-bundle', record.bundle, 'delete'],
      {
        timeoutMs: DELETE_DEADLINE_MS,
        cwd: '/',
        env: { TSKATA_RUN_ROOT: context.runRoot, TSKATA_LIB_ROOT: context.libRoot },
      },
    );
    if (record.annotations[DETACHED] === 'remove') await removeContainerFiles(files);
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
