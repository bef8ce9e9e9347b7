/** `tskata pull`: an image from a registry or an archive comes into the store. */
import type { Command } from 'commander';
import type { CliContext, ContextSource } from './context.ts';
import {
  type AccessFlags,
  accessOf,
  addAccessFlags,
  addLimitFlags,
  type LimitFlags,
  openStore,
} from './image-flags.ts';
import { pullProgress } from './progress.ts';

interface PullFlags extends AccessFlags, LimitFlags {
  readonly quiet?: boolean;
}

const EXAMPLES = `
Examples:
  tskata pull debian:12
  tskata pull registry.example.com:5000/team/app@sha256:...
  tskata pull --tls-verify=false docker://127.0.0.1:5000/app
  tskata pull oci-archive:app.tar:v1`;

export function register(program: Command, context: ContextSource): void {
  const command = program
    .command('pull')
    .description('fetch an image: NAME[:TAG][@DIGEST], or docker://, docker-archive:, oci: and oci-archive: in front')
    .argument('<image>')
    .option('-q, --quiet', 'print the id only');
  addLimitFlags(addAccessFlags(command))
    .addHelpText('after', EXAMPLES)
    .action(async (image: string, flags: PullFlags) => pull(context(), image, flags));
}

async function pull(context: CliContext, image: string, flags: PullFlags): Promise<void> {
  const store = await openStore(context, flags);
  const progress = flags.quiet ? undefined : pullProgress(process.stderr);
  try {
    const pulled = await store.pull(image, { ...accessOf(flags), ...(progress ? { onProgress: progress.show } : {}) });
    progress?.stop();
    process.stdout.write(`${pulled.image.id}\n`);
  } finally {
    progress?.stop();
  }
}
