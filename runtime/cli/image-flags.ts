/** Flags that the verbs which fetch images share, and the store they work on. */
import { type Command, Option } from 'commander';
import { ImageStore, type PullOptions } from '../image/image-store.ts';
import { DEFAULT_LIMITS } from '../image/limits.ts';
import type { CliContext } from './context.ts';
import { parseSize } from './flags/size.ts';
import { imageUsage } from './image-usage.ts';
import { ensureLibRoot } from './roots.ts';

/** Access to a registry, by skopeo's names. */
export interface AccessFlags {
  readonly authfile?: string;
  readonly creds?: string;
  readonly tlsVerify?: string;
}

export function addAccessFlags(command: Command): Command {
  return command
    .option('--authfile <file>', 'credentials of registries, as `skopeo login` writes them')
    .option('--creds <user:password>', 'credentials for this registry; others see them in the list of processes')
    .addOption(new Option('--tls-verify <bool>', "check the registry's certificate").choices(['true', 'false']));
}

export function accessOf(flags: AccessFlags): PullOptions {
  return {
    ...(flags.authfile === undefined ? {} : { authFile: flags.authfile }),
    ...(flags.creds === undefined ? {} : { credentials: flags.creds }),
    ...(flags.tlsVerify === undefined ? {} : { tlsVerify: flags.tlsVerify === 'true' }),
  };
}

/** Bounds on what an image may unpack to. */
export interface LimitFlags {
  readonly maxLayerSize?: string;
}

export function addLimitFlags(command: Command): Command {
  return command.option('--max-layer-size <size>', 'refuse layers that unpack to more (default: 32g)');
}

/** The store of the context, with its knowledge of what is in use. */
export async function openStore(context: CliContext, flags: LimitFlags = {}): Promise<ImageStore> {
  await ensureLibRoot(context);
  const usage = imageUsage(context);
  if (flags.maxLayerSize === undefined) return await ImageStore.open(context.libRoot, { usage });
  const bytes = parseSize('--max-layer-size', flags.maxLayerSize);
  const limits = { ...DEFAULT_LIMITS, layerStreamBytes: bytes, layerContentBytes: bytes };
  return await ImageStore.open(context.libRoot, { usage, limits });
}
