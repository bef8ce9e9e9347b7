/**
 * Owns image manifests and indexes (OCI image-spec, Docker schema 2): media types, descriptors, choice of a platform.
 * Documents come from registries and are not trusted: sizes, counts and digests are checked here.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { hostArchitecture } from './config.ts';
import { type Digest, parseDigest } from './digest.ts';
import { Json } from './json.ts';
import { MAX_CONFIG_BYTES, MAX_IMAGE_LAYERS, MAX_MANIFEST_BYTES } from './limits.ts';

export const MediaType = {
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
} as const;

const INDEXES = new Set([
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]);
const MANIFESTS = new Set([MediaType.ociManifest as string, 'application/vnd.docker.distribution.manifest.v2+json']);
const CONFIGS = new Set([MediaType.ociConfig as string, 'application/vnd.docker.container.image.v1+json']);
const LAYERS = new Set([
  MediaType.ociLayer as string,
  MediaType.ociLayerGzip as string,
  'application/vnd.oci.image.layer.v1.tar+zstd',
  'application/vnd.oci.image.layer.nondistributable.v1.tar',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  'application/vnd.oci.image.layer.nondistributable.v1.tar+zstd',
  'application/vnd.docker.image.rootfs.diff.tar',
  'application/vnd.docker.image.rootfs.diff.tar.gzip',
  'application/vnd.docker.image.rootfs.diff.tar.zstd',
  'application/vnd.docker.image.rootfs.foreign.diff.tar',
  'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
]);

/** A piece of content. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

/** One image of one platform. */
export interface Manifest {
  readonly kind: 'manifest';
  readonly config: Descriptor;
  /** Lowest first. */
  readonly layers: readonly Descriptor[];
}

/** A list of images for several platforms. */
export interface Index {
  readonly kind: 'index';
  readonly manifests: readonly (Descriptor & {
    readonly os: string;
    readonly architecture: string;
    readonly variant: string;
  })[];
}

/** Decodes either. Throws InvalidArgument naming the JSON path, Unimplemented for a form that is not known. */
export function decodeManifest(bytes: Uint8Array): Manifest | Index {
  if (bytes.length > MAX_MANIFEST_BYTES) {
    throw new TskataError(
      Code.ResourceExhausted,
      `read manifest - it has ${bytes.length} bytes - at most ${MAX_MANIFEST_BYTES} are read`,
    );
  }
  const json = Json.parse(bytes, 'manifest');
  if (json.has('schemaVersion') && json.size('schemaVersion') !== 2) {
    throw new TskataError(
      Code.Unimplemented,
      'read manifest - it has not schema version 2 - push the image anew with a current tool',
    );
  }
  const mediaType = json.optionalString('mediaType') ?? '';
  if (INDEXES.has(mediaType) || (mediaType === '' && json.has('manifests'))) return decodeIndex(json);
  if (MANIFESTS.has(mediaType) || (mediaType === '' && json.has('config'))) return decodeImage(json);
  throw new TskataError(
    Code.Unimplemented,
    `read manifest - its media type '${mediaType.slice(0, 100)}' is not that of an image`,
  );
}

function decodeImage(json: Json): Manifest {
  const config = descriptor(json.object('config'));
  if (!CONFIGS.has(config.mediaType)) {
    throw new TskataError(
      Code.Unimplemented,
      `read manifest - its configuration has the type '${config.mediaType.slice(0, 100)}' - it is an artifact, not a container image`,
    );
  }
  if (config.size > MAX_CONFIG_BYTES) {
    throw new TskataError(
      Code.ResourceExhausted,
      `read manifest - its configuration has ${config.size} bytes - at most ${MAX_CONFIG_BYTES} are read`,
    );
  }
  const layers = json.objects('layers').map(descriptor);
  if (layers.length > MAX_IMAGE_LAYERS) {
    throw new TskataError(
      Code.ResourceExhausted,
      `read manifest - it has ${layers.length} layers - at most ${MAX_IMAGE_LAYERS} are possible`,
    );
  }
  for (const [index, layer] of layers.entries()) {
    if (!LAYERS.has(layer.mediaType)) {
      const what = layer.mediaType.includes('encrypted')
        ? 'encrypted layers are not supported'
        : 'the layer type is unknown';
      throw new TskataError(
        Code.Unimplemented,
        `read manifest.layers[${index}] - '${layer.mediaType.slice(0, 100)}' - ${what}`,
      );
    }
  }
  return { kind: 'manifest', config, layers };
}

function decodeIndex(json: Json): Index {
  const manifests = json.objects('manifests').map((entry) => {
    const platform = entry.optionalObject('platform');
    return {
      ...descriptor(entry),
      os: platform?.optionalString('os') ?? '',
      architecture: platform?.optionalString('architecture') ?? '',
      variant: platform?.optionalString('variant') ?? '',
    };
  });
  return { kind: 'index', manifests };
}

function descriptor(json: Json): Descriptor {
  return {
    mediaType: json.string('mediaType'),
    digest: parseDigest(json.string('digest'), `${json.path}.digest`),
    size: json.size('size'),
  };
}

/** The manifest for this machine. Throws NotFound with what there is. */
export function choosePlatform(index: Index, name: string): Descriptor {
  const architecture = hostArchitecture();
  const found = index.manifests.find((entry) => entry.os === 'linux' && entry.architecture === architecture);
  if (found !== undefined) return found;
  const known = index.manifests.map((entry) => `${entry.os}/${entry.architecture}`).join(', ');
  throw new TskataError(
    Code.NotFound,
    `pull ${name} - there is no image for linux/${architecture} - only for: ${known.slice(0, 300)}`,
  );
}
