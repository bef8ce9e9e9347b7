/** The image of a `run`: found or pulled, as block images and as the defaults of the configuration. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { ImageStore, NamedImage } from '../image/image-store.ts';
import type { ImageDefaults } from '../oci/request.ts';
import type { CliContext } from './context.ts';
import { openStore } from './image-flags.ts';
import { pullProgress } from './progress.ts';

/** What a container is made of. */
export interface RunImage {
  readonly id: string;
  /** Host paths of read-only block images, lowest first. */
  readonly layers: readonly string[];
  /** Their file system. */
  readonly layerType: string;
  readonly defaults: ImageDefaults;
  /** Ends the protection against removal: once the container's record names the image. */
  release(): Promise<void>;
}

/** Finds the image, pulls it as `when` says, makes its block images ready. */
export async function prepareImage(
  context: CliContext,
  reference: string,
  when: 'missing' | 'always' | 'never',
): Promise<RunImage> {
  const store = await openStore(context);
  const { image } = await obtain(store, reference, when);
  const { id, layers, layerType, config, release } = await store.prepareRootfs(image);
  const defaults: ImageDefaults = {
    env: config.Env,
    entrypoint: config.Entrypoint,
    cmd: config.Cmd,
    workingDir: config.WorkingDir,
    user: config.User,
    stopSignal: config.StopSignal,
  };
  return { id, layers, layerType, defaults, release };
}

async function obtain(store: ImageStore, reference: string, when: 'missing' | 'always' | 'never'): Promise<NamedImage> {
  const found = when === 'always' ? undefined : await store.find(reference);
  if (found) return found;
  if (when === 'never') {
    throw new TskataError(
      Code.NotFound,
      `run ${reference}: the image is not here; 'tskata pull ${reference}' fetches it`,
    );
  }
  const progress = pullProgress(process.stderr);
  try {
    return await store.pull(reference, { onProgress: progress.show });
  } finally {
    progress.stop();
  }
}
