/**
 * Owns the names of images: `[registry/]repository[:tag][@digest]` completed as Docker completes it, and skopeo's
 * transports in front of it. It opens nothing.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { type Digest, parseDigest } from './digest.ts';

/** A complete name. Has a tag, a digest, or both. */
export interface Reference {
  /** Host, with a port when it has one: "docker.io", "localhost:5000". */
  readonly registry: string;
  /** "library/busybox". */
  readonly repository: string;
  /** Undefined exactly when only a digest was given. */
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
}

/** Where an image is copied from. */
export type ImageSource = RegistrySource | ArchiveSource;

interface RegistrySource {
  readonly transport: 'docker';
  readonly reference: Reference;
}

export interface ArchiveSource {
  readonly transport: 'docker-archive' | 'oci' | 'oci-archive';
  readonly path: string;
  /** Image in the archive: '' for its only one. */
  readonly image: string;
}

const DEFAULT_REGISTRY = 'docker.io';
const DEFAULT_TAG = 'latest';
const MAX_TEXT_LENGTH = 1024;
const MAX_NAME_LENGTH = 255;
const REGISTRY =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?$/;
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

/** Completes a name. Throws InvalidArgument that says which part is wrong. */
export function parseReference(text: string): Reference {
  if (text.length > MAX_TEXT_LENGTH) throw refused(text, `it is longer than ${MAX_TEXT_LENGTH} characters`);
  const [name, digestText] = cut(text, text.indexOf('@'));
  const digest = digestText === undefined ? undefined : parseDigest(digestText, `the digest of image '${shown(text)}'`);
  const slash = name.lastIndexOf('/');
  const colon = name.indexOf(':', slash + 1);
  const [path, tag] = cut(name, colon);
  if (tag !== undefined && !TAG.test(tag)) throw refused(text, `'${shown(tag)}' is not a tag`);
  const { registry, repository } = splitRegistry(path);
  if (!REGISTRY.test(registry)) throw refused(text, `'${shown(registry)}' is not a registry`);
  for (const component of repository.split('/')) {
    if (COMPONENT.test(component)) continue;
    const hint = /[A-Z]/.test(component) ? ' - repository names are lower case' : '';
    throw refused(
      text,
      component === ''
        ? 'a part of the name is empty'
        : `'${shown(component)}' is not a part of a repository name${hint}`,
    );
  }
  if (registry.length + 1 + repository.length > MAX_NAME_LENGTH)
    throw refused(text, `the name is longer than ${MAX_NAME_LENGTH} characters`);
  return { registry, repository, tag: tag ?? (digest === undefined ? DEFAULT_TAG : undefined), digest };
}

/** The name in full: what images are stored and listed under. */
export function formatReference(reference: Reference): string {
  const tag = reference.tag === undefined ? '' : `:${reference.tag}`;
  const digest = reference.digest === undefined ? '' : `@${reference.digest}`;
  return `${reference.registry}/${reference.repository}${tag}${digest}`;
}

/** The name as people write it: without what is added by itself. */
export function familiarName(name: string): string {
  return name.replace(/^docker\.io\/(?:library\/)?/, '');
}

/** A name, or a transport and where the image lies. */
export function parseSource(text: string): ImageSource {
  const [, transport, rest] =
    /^(docker-archive|oci-archive|oci|docker|docker-daemon|dir|containers-storage):(.*)$/s.exec(text) ?? [];
  if (transport === undefined || rest === undefined) return { transport: 'docker', reference: parseReference(text) };
  if (transport === 'docker') {
    // A registry called "docker" is not meant: with a transport comes "//".
    if (!rest.startsWith('//')) return { transport: 'docker', reference: parseReference(text) };
    return { transport, reference: parseReference(rest.slice(2)) };
  }
  if (transport === 'docker-archive' || transport === 'oci' || transport === 'oci-archive') {
    const [path, image] = cut(rest, rest.indexOf(':'));
    if (path === '') throw refused(text, 'the path is empty');
    return { transport, path, image: image ?? '' };
  }
  throw refused(
    text,
    `the transport ${transport}: is not supported - use docker://, docker-archive:, oci: or oci-archive:`,
  );
}

function splitRegistry(path: string): { registry: string; repository: string } {
  const slash = path.indexOf('/');
  const first = slash === -1 ? '' : path.slice(0, slash);
  const isRegistry = first.includes('.') || first.includes(':') || first === 'localhost';
  const registry = isRegistry ? first.toLowerCase() : DEFAULT_REGISTRY;
  const rest = isRegistry ? path.slice(slash + 1) : path;
  const canonical = registry === 'index.docker.io' ? DEFAULT_REGISTRY : registry;
  const official = canonical === DEFAULT_REGISTRY && !rest.includes('/');
  return { registry: canonical, repository: official ? `library/${rest}` : rest };
}

/** Two parts around a separator; the second is undefined when there is none (-1). */
function cut(text: string, at: number): [string, string | undefined] {
  return at === -1 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

function shown(text: string): string {
  return text.slice(0, 100).replace(/\p{C}/gu, '?');
}

function refused(text: string, fact: string): TskataError {
  return new TskataError(Code.InvalidArgument, `image name '${shown(text)}' - ${fact}`);
}
