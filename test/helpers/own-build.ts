/** A copy of the built programs, for a test that takes something away from them or puts something else in. */
import { cpSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { BUILD } from './tskata.ts';

/** Copies to `directory`, which is not there yet, all but Node, which is large. */
export function copyBuild(directory: string): void {
  cpSync(BUILD, directory, {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path) => !path.endsWith('/node') && !path.startsWith(join(BUILD, 'test')),
  });
  symlinkSync(join(BUILD, 'lib/node'), join(directory, 'lib/node'));
}
