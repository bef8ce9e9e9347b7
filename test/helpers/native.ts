/** Builds the native helper for a test file; the build is cached by its inputs. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildNative } from '../../agent/build.ts';

/** A directory of a test with the helper in it. */
export interface HelperBuild {
  readonly directory: string;
  readonly helper: string;
  /** For state: empty. */
  readonly runRoot: string;
  remove(): Promise<void>;
}

export async function buildHelper(): Promise<HelperBuild> {
  const directory = await mkdtemp(join(tmpdir(), 'tskata-helper-'));
  const helper = join(directory, 'lib', 'tskata-helper');
  const entry = join(import.meta.dirname, '../../runtime/helper/main.ts');
  await buildNative({ name: 'tskata-helper', entry, outFile: helper });
  return {
    directory,
    helper,
    runRoot: join(directory, 'run'),
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}
