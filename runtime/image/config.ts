/**
 * Owns an image's configuration (OCI image-spec config.md, and Docker's, which has the same fields): what a container
 * of it starts with, and the diff ids of its layers. It does not apply any of it.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { type Digest, parseDigest } from './digest.ts';
import { Json } from './json.ts';
import { MAX_IMAGE_LAYERS } from './limits.ts';

/** What containers take from their image. Names as in the configuration document. */
export interface ImageConfig {
  readonly Env: readonly string[];
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  /** '' when the image says nothing. */
  readonly WorkingDir: string;
  readonly User: string;
  /** "80/tcp". */
  readonly ExposedPorts: readonly string[];
  /** Paths in the container. */
  readonly Volumes: readonly string[];
  readonly StopSignal: string;
  readonly Labels: Readonly<Record<string, string>>;
}

/** The whole document, as far as it is used. */
export interface ImageDocument {
  readonly architecture: string;
  readonly os: string;
  /** RFC 3339; '' when unknown. */
  readonly created: string;
  readonly config: ImageConfig;
  readonly diffIds: readonly Digest[];
}

/** Decodes and checks the document. Throws InvalidArgument naming the JSON path. */
export function decodeImageDocument(bytes: Uint8Array): ImageDocument {
  const document = Json.parse(bytes, 'image configuration');
  const rootfs = document.object('rootfs');
  const diffIds = rootfs
    .strings('diff_ids')
    .map((text, index) => parseDigest(text, `${rootfs.path}.diff_ids[${index}]`));
  if (diffIds.length > MAX_IMAGE_LAYERS) {
    throw new TskataError(
      Code.ResourceExhausted,
      `read image configuration - it has ${diffIds.length} layers - at most ${MAX_IMAGE_LAYERS} are possible`,
    );
  }
  return {
    architecture: document.string('architecture'),
    os: document.string('os'),
    created: document.optionalString('created') ?? '',
    config: decodeConfig(document.optionalObject('config') ?? new Json({}, 'config')),
    diffIds,
  };
}

/** Decodes the part that containers use; also how it is read back from an image record. */
export function decodeConfig(json: Json): ImageConfig {
  const labels = json.optionalObject('Labels');
  return {
    Env: json.strings('Env'),
    Entrypoint: json.strings('Entrypoint'),
    Cmd: json.strings('Cmd'),
    WorkingDir: json.optionalString('WorkingDir') ?? '',
    User: json.optionalString('User') ?? '',
    ExposedPorts: json.optionalObject('ExposedPorts')?.keys() ?? [],
    Volumes: json.optionalObject('Volumes')?.keys() ?? [],
    StopSignal: json.optionalString('StopSignal') ?? '',
    Labels: labels ? Object.fromEntries(labels.keys().map((key) => [key, labels.string(key)])) : {},
  };
}

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

/** The name that images have for this machine's architecture. */
export function hostArchitecture(): string {
  return ARCHITECTURES[process.arch] ?? process.arch;
}

/** Refuses what a guest of this machine cannot run. */
export function checkPlatform(document: ImageDocument, name: string): void {
  if (document.os === 'linux' && document.architecture === hostArchitecture()) return;
  throw new TskataError(
    Code.FailedPrecondition,
    `use image ${name} - it is for ${document.os}/${document.architecture} - this machine runs linux/${hostArchitecture()}`,
  );
}
