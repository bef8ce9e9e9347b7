/**
 * The files of one container that this command makes before it calls a shim, and their removal: the run directory with
 * the bundle, and the lasting directory with log and writable disk.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LOG_PATH } from '../oci/annotations.ts';
import { writeBundle } from '../oci/bundle.ts';
import type { Spec } from '../oci/spec.ts';
import { type CliContext, containerDirectory } from './context.ts';

const OWNER_ONLY = 0o700;

/** Where things of a container lie. */
export interface ContainerFiles {
  /** Record, bundle, FIFOs: gone with a reboot. */
  readonly runDirectory: string;
  readonly bundle: string;
  /** Log and writable disk. */
  readonly lastingDirectory: string;
  readonly logFile: string;
  readonly scratchFile: string;
}

export function containerFiles(context: CliContext, id: string): ContainerFiles {
  const runDirectory = join(context.runRoot, context.namespace, id);
  const lastingDirectory = containerDirectory(context, id);
  return {
    runDirectory,
    bundle: join(runDirectory, 'bundle'),
    lastingDirectory,
    logFile: join(lastingDirectory, 'log.json'),
    scratchFile: join(lastingDirectory, 'scratch.ext4'),
  };
}

/** Makes the directories and writes the bundle, with its log named in it. */
export async function createContainerFiles(files: ContainerFiles, spec: Spec): Promise<void> {
  await mkdir(join(files.bundle, 'rootfs'), { recursive: true, mode: OWNER_ONLY });
  await mkdir(files.lastingDirectory, { recursive: true, mode: OWNER_ONLY });
  await writeBundle(files.bundle, { ...spec, annotations: { ...spec.annotations, [LOG_PATH]: files.logFile } });
}

/** Removes everything, the record included. Idempotent. */
export async function removeContainerFiles(files: ContainerFiles): Promise<void> {
  await rm(files.lastingDirectory, { recursive: true, force: true });
  await rm(files.runDirectory, { recursive: true, force: true });
}
