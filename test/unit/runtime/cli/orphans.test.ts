import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { containerFiles } from '../../../../runtime/cli/container-files.ts';
import { type CliContext, makeContext } from '../../../../runtime/cli/context.ts';
import { claimId } from '../../../../runtime/cli/name-claim.ts';
import { newContainerId } from '../../../../runtime/cli/names.ts';
import { findOrphans } from '../../../../runtime/cli/orphans.ts';

let directory: string;
let context: CliContext;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tskata-orphans-'));
  context = makeContext({ root: join(directory, 'lib'), runRoot: join(directory, 'run'), namespace: 'default' });
});
afterEach(() => rmSync(directory, { recursive: true }));

/** What a `run` makes before it calls a shim. */
function make(): { id: string; directories: string[] } {
  const id = newContainerId();
  const { bundle, runDirectory, lastingDirectory } = containerFiles(context, id);
  for (const path of [bundle, lastingDirectory]) mkdirSync(path, { recursive: true });
  return { id, directories: [runDirectory, lastingDirectory] };
}

it('are what a run left that lives no more, at once', async () => {
  const left = [make(), make()].flatMap(({ directories }) => directories);
  expect((await findOrphans(context)).toSorted()).toEqual(left.toSorted());
});

it('are none while a run makes them, and none when it has made them', async () => {
  const { id, directories } = make();
  const giveBack = await claimId(context, id);
  expect(await findOrphans(context)).toEqual([]);
  await giveBack();
  expect(await findOrphans(context)).toHaveLength(2);
  // Readable or not: its container may run.
  writeFileSync(join(directories[0] ?? '', 'state.json'), '{');
  expect(await findOrphans(context)).toEqual([]);
});

it("are of others only after a while: containerd's shims make a directory before the record", async () => {
  const foreign = join(context.runRoot, 'default', 'app');
  mkdirSync(foreign, { recursive: true });
  expect(await findOrphans(context)).toEqual([]);
  utimesSync(foreign, 0, 0);
  expect(await findOrphans(context)).toEqual([foreign]);
});
