/** `tskata load`: images come out of an archive file, or the built-in one is made. */
import { type Command, Option } from 'commander';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { buildBusyboxImage } from '../image/busybox.ts';
import { familiarName } from '../image/reference.ts';
import type { CliContext, ContextSource } from './context.ts';
import { addLimitFlags, type LimitFlags, openStore } from './image-flags.ts';
import { pullProgress } from './progress.ts';

interface LoadFlags extends LimitFlags {
  readonly input?: string;
  readonly name?: string;
  readonly builtin?: 'busybox';
}

const EXAMPLES = `
Examples:
  docker save app:1 -o app.tar && tskata load app.tar
  tskata load --name app:2 ./oci-layout
  tskata load --builtin busybox`;

export function register(program: Command, context: ContextSource): void {
  const command = program
    .command('load')
    .description('take images out of an archive of `docker save`, or an OCI layout (file or directory)')
    .argument('[archive]')
    .option('-i, --input <archive>', 'the archive, as docker has it')
    .option('--name <name>', 'name for an image that has none')
    .addOption(new Option('--builtin <image>', 'make an image of what this machine has').choices(['busybox']))
    .addHelpText('after', EXAMPLES);
  addLimitFlags(command).action(async (archive: string | undefined, flags: LoadFlags) =>
    load(context(), archive ?? flags.input, flags),
  );
}

async function load(context: CliContext, archive: string | undefined, flags: LoadFlags): Promise<void> {
  if ((archive === undefined) === (flags.builtin === undefined)) {
    throw new TskataError(Code.InvalidArgument, 'load: name either an archive or --builtin');
  }
  const store = await openStore(context, flags);
  const progress = pullProgress(process.stderr);
  const name = flags.name === undefined ? {} : { name: flags.name };
  try {
    const loaded =
      archive === undefined
        ? [await buildBusyboxImage(store)]
        : await store.load(archive, { ...name, onProgress: progress.show });
    progress.stop();
    for (const { name: given, image } of loaded) {
      process.stdout.write(given === '' ? `${image.id}\n` : `${familiarName(given)} ${image.id}\n`);
    }
  } finally {
    progress.stop();
  }
}
