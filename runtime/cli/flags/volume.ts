/** Host paths and tmpfs in the container: -v, --mount, --tmpfs, with docker's syntax. */
import { isAbsolute, normalize, resolve } from 'node:path';
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import type { TmpfsRequest, VolumeRequest } from '../../oci/request.ts';

const PROPAGATIONS = new Set(['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave']);
/** SELinux labels and consistency hints of docker: accepted, without meaning here. */
const IGNORED = new Set(['z', 'Z', 'cached', 'delegated', 'consistent', 'nocopy', 'rbind', 'bind']);

function refuse(flag: string, text: string, why: string): never {
  throw new TskataError(Code.InvalidArgument, `${flag} ${text}: ${why}`);
}

function destinationOf(flag: string, text: string, path: string): string {
  if (!isAbsolute(path)) refuse(flag, text, `destination ${JSON.stringify(path)} must be an absolute path`);
  const clean = normalize(path).replace(/(.)\/$/, '$1');
  if (clean === '/') refuse(flag, text, 'the root of the container cannot be replaced');
  return clean;
}

/** `-v SOURCE:DESTINATION[:OPTION,...]`. */
export function parseVolume(flag: string, text: string): VolumeRequest {
  const [source, destination, options, ...rest] = text.split(':');
  if (!source || !destination || rest.length > 0) refuse(flag, text, 'write SOURCE:DESTINATION[:ro]');
  if (!source.startsWith('/') && !source.startsWith('./') && !source.startsWith('../') && source !== '.') {
    refuse(flag, text, `named volumes are not supported; give a path (./${source} for one in this directory)`);
  }
  let readOnly = false;
  let propagation = '';
  for (const option of options?.split(',') ?? []) {
    if (option === 'ro') readOnly = true;
    else if (PROPAGATIONS.has(option)) propagation = option;
    else if (option !== 'rw' && !IGNORED.has(option)) refuse(flag, text, `unknown option ${JSON.stringify(option)}`);
  }
  return { source: resolve(source), destination: destinationOf(flag, text, destination), readOnly, propagation };
}

/** `--tmpfs DESTINATION[:OPTION,...]`. */
export function parseTmpfs(flag: string, text: string): TmpfsRequest {
  const colon = text.indexOf(':');
  const path = colon < 0 ? text : text.slice(0, colon);
  const options =
    colon < 0
      ? []
      : text
          .slice(colon + 1)
          .split(',')
          .filter(Boolean);
  return { destination: destinationOf(flag, text, path), options };
}

/** `--mount type=bind,source=…,destination=…[,readonly]` or `type=tmpfs,destination=…[,tmpfs-size=…][,tmpfs-mode=…]`. */
export function parseMount(flag: string, text: string): { volume: VolumeRequest } | { tmpfs: TmpfsRequest } {
  const fields = new Map<string, string>();
  for (const part of text.split(',')) {
    const equals = part.indexOf('=');
    fields.set(equals < 0 ? part : part.slice(0, equals), equals < 0 ? 'true' : part.slice(equals + 1));
  }
  const take = (...names: string[]): string | undefined => {
    let found: string | undefined;
    for (const name of names) {
      found ??= fields.get(name);
      fields.delete(name);
    }
    return found;
  };
  const type = take('type') ?? 'volume';
  const destination = destinationOf(flag, text, take('destination', 'dst', 'target') ?? '');
  const result =
    type === 'bind' ? bindOf(flag, text, destination, take) : type === 'tmpfs' ? tmpfsOf(destination, take) : undefined;
  if (!result) refuse(flag, text, `type ${JSON.stringify(type)} is not supported; use bind or tmpfs`);
  const [unknown] = fields.keys();
  if (unknown !== undefined) refuse(flag, text, `unknown field ${JSON.stringify(unknown)}`);
  return result;
}

type Take = (...names: string[]) => string | undefined;

function bindOf(flag: string, text: string, destination: string, take: Take): { volume: VolumeRequest } {
  const source = take('source', 'src');
  if (!source || !isAbsolute(source)) refuse(flag, text, 'source must be an absolute path');
  const readOnly = take('readonly', 'ro');
  const propagation = take('bind-propagation') ?? '';
  if (propagation !== '' && !PROPAGATIONS.has(propagation)) {
    refuse(flag, text, `unknown bind-propagation ${JSON.stringify(propagation)}`);
  }
  return { volume: { source: normalize(source), destination, readOnly: isTrue(readOnly), propagation } };
}

function tmpfsOf(destination: string, take: Take): { tmpfs: TmpfsRequest } {
  const size = take('tmpfs-size');
  const mode = take('tmpfs-mode');
  const readOnly = take('readonly', 'ro');
  const options = [size && `size=${size}`, mode && `mode=${mode}`, isTrue(readOnly) && 'ro'].filter(
    (option) => typeof option === 'string' && option !== '',
  );
  return { tmpfs: { destination, options: options as string[] } };
}

function isTrue(value: string | undefined): boolean {
  return value !== undefined && value !== 'false' && value !== '0';
}
