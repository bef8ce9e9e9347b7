/** `tskata images`: what is in the store, for people and for programs. */
import type { Command } from 'commander';
import type { NamedImage } from '../image/image-store.ts';
import { familiarName } from '../image/reference.ts';
import type { CliContext, ContextSource } from './context.ts';
import { openStore } from './image-flags.ts';
import { printTable } from './table.ts';

const SHORT_ID = 12;
const MB = 1e6;

interface ImagesFlags {
  readonly quiet?: boolean;
  readonly json?: boolean;
}

export function register(program: Command, context: ContextSource): void {
  program
    .command('images')
    .description('list images')
    .option('-q, --quiet', 'ids only')
    .option('--json', 'for programs')
    .addHelpText('after', '\nExamples:\n  tskata images\n  tskata images --json')
    .action(async (flags: ImagesFlags) => list(context(), flags));
}

async function list(context: CliContext, flags: ImagesFlags): Promise<void> {
  const images = await (await openStore(context)).list();
  if (flags.json) {
    process.stdout.write(`${JSON.stringify(images.map(row), null, 2)}\n`);
  } else if (flags.quiet) {
    for (const id of new Set(images.map(({ image }) => image.id))) process.stdout.write(`${id}\n`);
  } else {
    printTable(
      ['NAME', 'ID', 'LAYERS', 'CREATED', 'SIZE'],
      images.map(({ name, image }) => [
        name === '' ? '<none>' : familiarName(name),
        image.id.replace('sha256:', '').slice(0, SHORT_ID),
        `${image.layers.length}`,
        image.created.slice(0, 10),
        `${(sizeOf(image) / MB).toFixed(1)} MB`,
      ]),
    );
  }
}

function row({ name, image }: NamedImage): object {
  const { id, manifestDigest, architecture, os, created } = image;
  return {
    name,
    id,
    digest: manifestDigest,
    architecture,
    os,
    created,
    layers: image.layers.length,
    size: sizeOf(image),
  };
}

/** Bytes that were fetched. */
function sizeOf(image: NamedImage['image']): number {
  return image.layers.reduce((sum, layer) => sum + layer.size, 0);
}
