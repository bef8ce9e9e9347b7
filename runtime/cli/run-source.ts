/** Where the root file system and the program of a `run` come from: an image, a host directory, or an OCI bundle. */
import { lstat, mkdir, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Mount } from '../../shim/task/generated/types.ts';
import { createScratchDisk } from '../image/scratch.ts';
import { ABANDONED, DETACHED, IMAGE, NAME, STOP_SIGNAL, STOP_TIMEOUT } from '../oci/annotations.ts';
import { readBundle, rootDirectory } from '../oci/bundle.ts';
import { composeSpec } from '../oci/compose.ts';
import type { ImageDefaults } from '../oci/request.ts';
import type { Spec } from '../oci/spec.ts';
import { networkAnnotations } from '../oci/transform/annotate.ts';
import { networkNamespace } from '../sandbox/network-mode.ts';
import type { ContainerFiles } from './container-files.ts';
import type { CliContext } from './context.ts';
import { containerRequest, networkRequest, refuseReserved } from './flags/container.ts';
import { parseSize } from './flags/size.ts';
import { parseVolume } from './flags/volume.ts';
import type { RunFlags } from './run-flags.ts';
import { prepareImage } from './run-image.ts';
import { terminalSize } from './terminal.ts';

/** What Create needs. */
export interface PreparedRun {
  readonly spec: Spec;
  readonly rootfs: readonly Mount[];
  /** Ends what protects the image while no record names it yet. */
  release(): Promise<void>;
}

const OWNER_ONLY = 0o700;
const nothing = async (): Promise<void> => {};
const NO_IMAGE: ImageDefaults = { env: [], entrypoint: [], cmd: [], workingDir: '', user: '', stopSignal: '' };

/** Reads and checks everything, fetches the image when it is missing, makes the writable disk. Starts nothing. */
export async function prepareRun(
  context: CliContext,
  id: string,
  files: ContainerFiles,
  words: readonly string[],
  flags: RunFlags,
): Promise<PreparedRun> {
  if (flags.bundle !== undefined) return await fromBundle(flags.bundle, words, flags);
  if (flags.rootfs !== undefined) return await fromDirectory(id, flags.rootfs, words, flags);
  const [reference, ...command] = words;
  if (reference === undefined)
    throw new TskataError(Code.InvalidArgument, 'run: name an image, or give --rootfs or --bundle');
  // Checked before an image is fetched: a wrong flag costs nothing.
  compose(id, NO_IMAGE, ['-'], flags);
  await makeMissingSources(flags.volume);
  const storageBytes = parseSize('--storage', flags.storage);
  const image = await prepareImage(context, reference, flags.pull);
  try {
    const spec = compose(id, image.defaults, command, flags);
    await mkdir(files.lastingDirectory, { recursive: true, mode: OWNER_ONLY });
    await createScratchDisk(context.libRoot, storageBytes, files.scratchFile);
    return {
      spec: { ...spec, annotations: { ...spec.annotations, [IMAGE]: image.id } },
      rootfs: [
        ...image.layers.map((source) => ({ type: image.layerType, source, target: '', options: ['ro'] })),
        { type: 'ext4', source: files.scratchFile, target: '', options: ['rw'] },
      ],
      release: image.release,
    };
  } catch (error) {
    await image.release();
    throw error;
  }
}

/** A host directory that -v names and that is not there is made, as docker does; --mount refuses it. */
async function makeMissingSources(volumes: readonly string[]): Promise<void> {
  for (const text of volumes) {
    const { source } = parseVolume('--volume', text);
    if (await lstat(source).catch(() => undefined)) continue;
    await mkdir(source, { recursive: true, mode: 0o755 }).catch((error: Error) => {
      throw new TskataError(Code.InvalidArgument, `--volume ${text}: make the directory: ${error.message}`);
    });
  }
}

function compose(id: string, image: ImageDefaults, command: readonly string[], flags: RunFlags): Spec {
  const terminal = flags.tty ? { terminal: terminalSize(process.stdout) } : {};
  const spec = composeSpec(containerRequest(flags, { id, image, command, ...terminal }, process.env));
  return withOwnAnnotations(spec, flags, image.stopSignal);
}

function withOwnAnnotations(spec: Spec, flags: RunFlags, imageStopSignal: string): Spec {
  const stopSignal = flags.stopSignal ?? imageStopSignal;
  return {
    ...spec,
    annotations: {
      ...spec.annotations,
      ...(flags.name === undefined ? {} : { [NAME]: flags.name }),
      ...(stopSignal === '' ? {} : { [STOP_SIGNAL]: stopSignal }),
      [STOP_TIMEOUT]: String(flags.stopTimeout),
      [flags.detach ? DETACHED : ABANDONED]: flags.rm ? 'remove' : 'keep',
    },
  };
}

async function fromDirectory(
  id: string,
  rootfs: string,
  words: readonly string[],
  flags: RunFlags,
): Promise<PreparedRun> {
  const directory = await existingDirectory('--rootfs', rootfs);
  const spec = compose(id, NO_IMAGE, words, flags);
  await makeMissingSources(flags.volume);
  return { spec, rootfs: [bind(directory, flags.readOnly === true)], release: nothing };
}

async function fromBundle(path: string, words: readonly string[], flags: RunFlags): Promise<PreparedRun> {
  if (words.length > 0)
    throw new TskataError(Code.InvalidArgument, `--bundle ${path}: the program is in its config.json; give none here`);
  const bundle = await readBundle(path);
  refuseReserved(`--bundle ${path}: annotations`, Object.keys(bundle.spec.annotations ?? {}));
  const directory = await existingDirectory(`--bundle ${path}: root.path`, rootDirectory(bundle));
  const annotations = { ...bundle.spec.annotations, ...bundleNetwork(path, bundle.spec, flags) };
  const own = { ...bundle.spec, annotations, root: { ...bundle.spec.root, path: 'rootfs' } };
  const spec = withOwnAnnotations(own, flags, '');
  return { spec, rootfs: [bind(directory, bundle.spec.root?.readonly === true)], release: nothing };
}

/** Flags beside a bundle that names no network namespace choose its machine's network. */
function bundleNetwork(path: string, spec: Spec, flags: RunFlags): Record<string, string> {
  const request = networkRequest(flags);
  const named = networkNamespace(spec);
  if (named === undefined || named === '') return networkAnnotations(request);
  if (request.network === 'none' && request.publish.length === 0 && request.dns.length === 0) return {};
  const why = `its config.json names the network namespace ${named}, which is its network`;
  throw new TskataError(Code.InvalidArgument, `--bundle ${path}: ${why}; leave --network, --publish and --dns out`);
}

function bind(source: string, readOnly: boolean): Mount {
  return { type: 'bind', source, target: '', options: ['rbind', readOnly ? 'ro' : 'rw'] };
}

async function existingDirectory(flag: string, path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isDirectory()) throw new TskataError(Code.InvalidArgument, `${flag} ${path}: not a directory`);
  return resolve(path);
}
