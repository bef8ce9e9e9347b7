/** Writes OCI image layouts from layers in memory: what tests push, load, or damage. */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';

type LayerCompression = 'none' | 'gzip' | 'zstd';

/** One layer: its tar stream and how it is stored. */
export interface LayoutLayer {
  readonly tar: Buffer;
  /** The stream as `compression` makes it, where that is known already. */
  readonly packed?: Buffer;
  readonly compression?: LayerCompression;
}

export interface LayoutOptions {
  readonly tag?: string;
  readonly architecture?: string;
  /** The configuration's `config`. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Full name under which containerd imports it. */
  readonly containerdName?: string;
}

/** Digests of what was written. */
export interface WrittenLayout {
  readonly directory: string;
  readonly manifest: string;
  readonly layers: readonly string[];
  readonly diffIds: readonly string[];
  /** What skopeo calls it. */
  readonly source: string;
}

const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' };

/** Writes a layout with one image to a directory, which is made. */
export async function writeLayout(
  directory: string,
  layers: readonly LayoutLayer[],
  options: LayoutOptions = {},
): Promise<WrittenLayout> {
  const tag = options.tag ?? 'latest';
  await mkdir(join(directory, 'blobs/sha256'), { recursive: true });
  const add = async (
    bytes: Buffer,
    mediaType: string,
  ): Promise<{ mediaType: string; digest: string; size: number }> => {
    const digest = sha256(bytes);
    await writeFile(join(directory, 'blobs/sha256', digest.slice('sha256:'.length)), bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const descriptors = [];
  for (const layer of layers) {
    const { bytes, suffix } = compress(layer);
    descriptors.push(await add(bytes, `application/vnd.oci.image.layer.v1.tar${suffix}`));
  }
  const diffIds = layers.map((layer) => sha256(layer.tar));
  const document = {
    architecture: options.architecture ?? ARCHITECTURES[process.arch] ?? process.arch,
    os: 'linux',
    config: options.config ?? {},
    rootfs: { type: 'layers', diff_ids: diffIds },
  };
  const config = await add(Buffer.from(JSON.stringify(document)), 'application/vnd.oci.image.config.v1+json');
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = await add(
    Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers: descriptors })),
    mediaType,
  );
  const annotations = {
    'org.opencontainers.image.ref.name': tag,
    ...(options.containerdName === undefined ? {} : { 'io.containerd.image.name': options.containerdName }),
  };
  await writeFile(
    join(directory, 'index.json'),
    JSON.stringify({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  );
  await writeFile(join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
  const layerDigests = descriptors.map((descriptor) => descriptor.digest);
  return { directory, manifest: manifest.digest, layers: layerDigests, diffIds, source: `oci:${directory}:${tag}` };
}

function compress(layer: LayoutLayer): { readonly bytes: Buffer; readonly suffix: string } {
  switch (layer.compression ?? 'gzip') {
    case 'none':
      return { bytes: layer.tar, suffix: '' };
    case 'zstd':
      return { bytes: layer.packed ?? zstdCompressSync(layer.tar), suffix: '+zstd' };
    default:
      return { bytes: layer.packed ?? gzipSync(layer.tar, { level: 1 }), suffix: '+gzip' };
  }
}

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
