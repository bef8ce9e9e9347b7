/**
 * Owns where the engine's source comes from: QuickJS 2021-03-27 out of an npm package, by name, version and hash. It is
 * no dependency of package.json: nothing of the package's JavaScript or binaries is used, and no install script runs.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cached } from './cache.ts';
import { runTool } from './run.ts';

const PACKAGE = 'qjsc@0.3.0';
/** Integrity of the package's tarball, as the registry states it. */
export const SOURCE_INTEGRITY =
  'sha512-a7+cU6/IVcZbIejffdt/wZVMX6LL2MDL3HQ9Zb5Gm23G9DvBMS/z9GHFxz39bAvp2PvMOM+ypSOAyokt2DdZ2w==';
const SUBDIRECTORY = 'package/deps/quickjs_2021_03_27';

/** Directory with the engine's C files, fetched and verified when it is not in the cache. */
export async function engineSource(): Promise<string> {
  const key = createHash('sha256').update(SOURCE_INTEGRITY).digest('hex');
  const directory = await cached('engine-source', key, async (temporary) => {
    await runTool('npm', ['pack', PACKAGE, '--ignore-scripts', '--pack-destination', temporary], temporary);
    const name = (await readdir(temporary)).find((file) => file.endsWith('.tgz'));
    if (name === undefined) throw new Error(`engine source ${PACKAGE}: npm pack left no tarball`);
    const tarball = join(temporary, name);
    const digest = createHash('sha512')
      .update(await readFile(tarball))
      .digest('base64');
    if (`sha512-${digest}` !== SOURCE_INTEGRITY) {
      throw new Error(`engine source ${PACKAGE}: its hash is sha512-${digest}, expected ${SOURCE_INTEGRITY}`);
    }
    await runTool('tar', ['-xzf', tarball, '-C', temporary, SUBDIRECTORY]);
    await rm(tarball);
  });
  return join(directory, SUBDIRECTORY);
}
