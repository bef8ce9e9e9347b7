/**
 * Owns the question what an archive file or directory holds: which of skopeo's transports reads it, and the names of
 * its images. It reads two small documents by our own tar reader and copies nothing.
 */

import { createReadStream, createWriteStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { Json } from './json.ts';
import { FileBytes } from './layer/file-bytes.ts';
import { detectCompression } from './layer/stream.ts';
import { type ImageLimits, MAX_MANIFEST_BYTES } from './limits.ts';
import { type ArchiveSource, formatReference, parseReference } from './reference.ts';
import type { StorePaths } from './store/paths.ts';
import { TarError } from './tar/header.ts';
import { readTar } from './tar/reader.ts';
import { withWorkplace } from './workplace.ts';

/** One image of an archive. */
export interface ArchivedImage {
  readonly source: ArchiveSource;
  /** In full. */
  readonly names: readonly string[];
}

/** Documents that tell the kinds of archives apart. */
const DOCUMENTS = ['manifest.json', 'index.json'];

/**
 * Runs `work` with the archive as a plain tar: one that is compressed is unpacked into a file that lasts as long as the
 * work, because not every skopeo reads it. A directory stays what it is.
 */
export async function withPlainArchive<T>(
  paths: StorePaths,
  path: string,
  limits: ImageLimits,
  work: (plain: string) => Promise<T>,
): Promise<T> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw new TskataError(Code.NotFound, `load ${path} - there is no such file`);
  if (found.isDirectory()) return await work(path);
  const compression = await detectCompression(path);
  if (compression === 'none') return await work(path);
  if (compression !== 'gzip' && compression !== 'zstd') {
    throw new TskataError(Code.Unimplemented, `load ${path} - it is compressed with ${compression} - unpack it first`);
  }
  return await withWorkplace(paths, async (directory) => {
    const plain = join(directory, 'archive.tar');
    let length = 0;
    const bounded = async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
      for await (const chunk of chunks) {
        length += chunk.length;
        if (length > limits.layerStreamBytes) {
          throw new TskataError(
            Code.ResourceExhausted,
            `load ${path} - it unpacks to more than ${limits.layerStreamBytes} bytes`,
          );
        }
        yield chunk;
      }
    };
    const decompress = compression === 'gzip' ? createGunzip() : createZstdDecompress();
    await pipeline(createReadStream(path), decompress, bounded, createWriteStream(plain, { mode: 0o600 }));
    return await work(plain);
  });
}

/** The images of a plain archive or a directory, which people know as `path`. Throws InvalidArgument when it is none. */
export async function listArchive(plain: string, path: string): Promise<ArchivedImage[]> {
  if ((await stat(plain)).isDirectory()) {
    const index = await readFile(join(path, 'index.json')).catch(() => undefined);
    if (index === undefined)
      throw new TskataError(
        Code.InvalidArgument,
        `load ${path} - the directory has no index.json - it is not an OCI layout`,
      );
    return ociImages('oci', path, index);
  }
  const documents = scanDocuments(plain, path);
  const docker = documents.get('manifest.json');
  if (docker !== undefined) return dockerImages(path, docker);
  const index = documents.get('index.json');
  if (index !== undefined) return ociImages('oci-archive', path, index);
  throw new TskataError(
    Code.InvalidArgument,
    `load ${path} - it has neither manifest.json nor index.json - it is not an archive of images`,
  );
}

function scanDocuments(file: string, path: string): Map<string, Buffer> {
  const bytes = new FileBytes(file);
  const documents = new Map<string, Buffer>();
  try {
    for (const entry of readTar(bytes)) {
      const name = entry.path.replace(/^\.\//, '');
      const [extent] = entry.extents;
      if (DOCUMENTS.includes(name) && entry.kind === 'file' && extent && entry.size <= MAX_MANIFEST_BYTES) {
        documents.set(name, bytes.readAt(extent.from, extent.length));
      }
    }
  } catch (error) {
    if (error instanceof TarError)
      throw new TskataError(Code.InvalidArgument, `load ${path} - it is not a tar archive: ${error.message}`);
    throw error;
  } finally {
    bytes.close();
  }
  return documents;
}

function dockerImages(path: string, document: Buffer): ArchivedImage[] {
  const list = Json.parse(`{"images":${document.toString('utf8')}}`, `${path}: manifest.json`);
  return list.objects('images').map((image, index) => {
    const tags = image.strings('RepoTags');
    // skopeo takes the first tag, or "@" and a number for an image without one.
    return { source: { transport: 'docker-archive', path, image: tags[0] ?? `@${index}` }, names: tags.map(fullName) };
  });
}

function ociImages(transport: 'oci' | 'oci-archive', path: string, document: Buffer): ArchivedImage[] {
  const index = Json.parse(document, `${path}: index.json`);
  const manifests = index.objects('manifests');
  if (manifests.length === 0)
    throw new TskataError(Code.InvalidArgument, `load ${path} - its index.json names no image`);
  return manifests.map((manifest) => {
    const annotations = manifest.optionalObject('annotations');
    const reference = annotations?.optionalString('org.opencontainers.image.ref.name');
    if (reference === undefined && manifests.length > 1) {
      throw new TskataError(
        Code.Unimplemented,
        `load ${path} - it has several images and one has no name - name one with oci:${path}:NAME`,
      );
    }
    const full = annotations?.optionalString('io.containerd.image.name') ?? reference;
    return {
      source: { transport, path, image: reference ?? '' },
      names: full === undefined ? [] : [nameIn(path, full)],
    };
  });
}

/** The names for an image that a person pointed at: what its reference in the archive says. */
export function namesOfSource(source: ArchiveSource): string[] {
  return source.image === '' ? [] : [nameIn(source.path, source.image)];
}

function nameIn(path: string, reference: string): string {
  return reference.includes('/') || reference.includes(':') ? fullName(reference) : stemName(path, reference);
}

function fullName(text: string): string {
  return formatReference(parseReference(text));
}

/** A layout that says only "latest" is called after its file. */
function stemName(path: string, tag: string): string {
  const stem = path.replace(/\/+$/, '').split('/').at(-1) ?? '';
  const name = stem
    .replace(/\.(tar|oci|tgz)(\..*)?$/, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');
  return fullName(`localhost/${name === '' ? 'image' : name}:${tag}`);
}
