/**
 * Owns the calls of skopeo, which speaks with registries and reads archives: arguments, credentials, and what its
 * errors mean for people. Nothing that it delivers is believed here or later without its digest being checked.
 */
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { run, runBytes } from '../host/process.ts';
import type { Digest } from './digest.ts';
import { MAX_MANIFEST_BYTES } from './limits.ts';
import { formatReference, type Reference } from './reference.ts';

/** Access to a registry, as skopeo has it. */
export interface RegistryAccess {
  /** File of credentials; skopeo's default places otherwise. */
  readonly authFile?: string;
  /** "user:password" for the registry of the image. */
  readonly credentials?: string;
  /** The registry that the credentials are for. */
  readonly registry?: string;
  /** False: plain HTTP and unknown certificates are accepted. Undefined: as registries.conf says. */
  readonly tlsVerify?: boolean;
}

const INSPECT_TIMEOUT_MS = 60_000;
const COPY_TIMEOUT_MS = 60 * 60_000;
const RETRIES = ['--retry-times', '2'];

/** What skopeo says, and what it means. The first that matches counts. */
const MEANINGS: readonly (readonly [RegExp, Code, string])[] = [
  [
    /manifest unknown|name unknown|not found: manifest|NAME_UNKNOWN|MANIFEST_UNKNOWN|StatusCode: 404/i,
    Code.NotFound,
    'the registry has no such image or tag - check the name',
  ],
  [
    /HTTP response to HTTPS client/i,
    Code.Unavailable,
    'the registry speaks plain HTTP - give --tls-verify=false if you trust the way to it',
  ],
  [
    /x509|certificate/i,
    Code.FailedPrecondition,
    'the certificate of the registry is not trusted - install its authority, or give --tls-verify=false',
  ],
  [
    /unauthorized|authentication required|access to the resource is denied|denied|invalid username/i,
    Code.Unauthenticated,
    'the registry refuses access - log in with `skopeo login`, or give --authfile or --creds',
  ],
  [
    /digest did not match|does not match|unexpected EOF|checksum|digest mismatch|corrupt/i,
    Code.DataLoss,
    'the content is damaged: its digest is not the stated one',
  ],
  [/no space left/i, Code.ResourceExhausted, 'the disk is full - free some space, `tskata rmi` helps'],
  [
    /connection refused|no such host|i\/o timeout|network is unreachable|connection reset|TLS handshake timeout|server misbehaving/i,
    Code.Unavailable,
    'the registry cannot be reached',
  ],
  [/no such file or directory/i, Code.NotFound, 'the file is missing'],
  [/toomanyrequests|rate limit/i, Code.ResourceExhausted, 'the registry limits how much is pulled - log in, or wait'],
];

/** How an image in a registry is named to skopeo. It takes a tag or a digest, never both: the digest decides. */
export function dockerName(reference: Reference): string {
  const tag = reference.digest === undefined ? reference.tag : undefined;
  return `docker://${formatReference({ ...reference, tag })}`;
}

/** The exact bytes of the manifest or index behind a name. */
export async function inspectManifest(
  name: string,
  access: RegistryAccess,
  directory: string,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const flags = [...(await authFlags(access, directory)), ...tlsFlag('--tls-verify', access)];
  return await explained(name, () =>
    runBytes('skopeo', ['inspect', '--raw', ...RETRIES, ...flags, name], {
      timeoutMs: INSPECT_TIMEOUT_MS,
      maxOutputBytes: MAX_MANIFEST_BYTES + 1,
      // A name may be that of a file, as the user sees it.
      cwd: process.cwd(),
      env: { TMPDIR: directory },
      ...(signal ? { signal } : {}),
    }),
  );
}

/** Copies one image into `target` as skopeo's dir: layout: manifest.json as it is, and blobs by their digits. */
export async function copyImage(
  name: string,
  target: string,
  access: RegistryAccess,
  directory: string,
  signal?: AbortSignal,
): Promise<void> {
  const flags = [...(await authFlags(access, directory, '--src-authfile')), ...tlsFlag('--src-tls-verify', access)];
  await explained(name, () =>
    run('skopeo', ['copy', '--quiet', ...RETRIES, ...flags, name, `dir:${target}`], {
      timeoutMs: COPY_TIMEOUT_MS,
      cwd: process.cwd(),
      // Large layers are buffered there; in our own directory they go with it, whatever happens.
      env: { TMPDIR: directory },
      ...(signal ? { signal } : {}),
    }),
  );
}

/**
 * Fetches single blobs of an image, as they are, into a new directory below `target`, whose path is returned. This verb
 * is not in skopeo's help, so callers must expect it to fail: `copyImage` does without.
 */
export async function copyBlobs(
  name: string,
  digests: readonly Digest[],
  target: string,
  access: RegistryAccess,
  directory: string,
  signal?: AbortSignal,
): Promise<string> {
  const flags = [...(await authFlags(access, directory)), ...tlsFlag('--tls-verify', access)];
  await explained(name, () =>
    run('skopeo', ['layers', ...RETRIES, ...flags, name, ...digests], {
      timeoutMs: COPY_TIMEOUT_MS,
      cwd: target,
      env: { TMPDIR: directory },
      ...(signal ? { signal } : {}),
    }),
  );
  const made = (await readdir(target)).find((entry) => entry.startsWith('layers-'));
  if (made === undefined) throw new TskataError(Code.Unknown, `pull ${name} - skopeo delivered nothing`);
  return join(target, made);
}

/** Credentials go to skopeo in a file: an argument could be read by everybody on the machine. */
async function authFlags(access: RegistryAccess, directory: string, flag = '--authfile'): Promise<string[]> {
  if (access.credentials === undefined) return access.authFile === undefined ? [] : [flag, access.authFile];
  const registry = access.registry;
  if (registry === undefined) return [];
  const file = join(directory, 'auth.json');
  await writeFile(
    file,
    JSON.stringify({ auths: { [registry]: { auth: Buffer.from(access.credentials).toString('base64') } } }),
    { mode: 0o600 },
  );
  return [flag, file];
}

function tlsFlag(flag: string, access: RegistryAccess): string[] {
  return access.tlsVerify === undefined ? [] : [`${flag}=${access.tlsVerify}`];
}

async function explained<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (caught) {
    const error = TskataError.from(caught);
    if (error.code !== Code.Unknown) throw error;
    const said = saidBy(error.message);
    const [, code, meaning] = MEANINGS.find(([pattern]) => pattern.test(said)) ?? [];
    if (code === undefined) throw new TskataError(Code.Unknown, `pull ${name} - ${said}`, error);
    throw new TskataError(code, `pull ${name} - ${meaning} (skopeo: ${said})`, error);
  }
}

/** The message within skopeo's log line, bounded. */
function saidBy(text: string): string {
  const messages = [...text.matchAll(/level=(?:fatal|error) msg="((?:[^"\\]|\\.)*)"/g)].map((match) =>
    (match[1] ?? '').replace(/\\(.)/g, '$1'),
  );
  return (messages.at(-1) ?? text).slice(0, 600);
}
