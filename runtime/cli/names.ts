/** Finds the container that a person means: by name, id or the beginning of an id. */
import { randomBytes } from 'node:crypto';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { NAME as NAME_ANNOTATION } from '../oci/annotations.ts';
import type { ContainerRecord } from '../state/record.ts';
import type { CliContext } from './context.ts';

const ID_BYTES = 32;

/** A fresh container id: 64 hexadecimal digits, as docker has them. */
export function newContainerId(): string {
  return randomBytes(ID_BYTES).toString('hex');
}

/** Records of the context's namespace; directories without a readable record are left to `gc`. */
export function records(context: CliContext): ContainerRecord[] {
  return context.state.list(context.namespace).flatMap((stored) => (stored.record ? [stored.record] : []));
}

/** The name of a container: as given with --name, else its short id. */
export function nameOf(record: ContainerRecord): string {
  return record.annotations[NAME_ANNOTATION] ?? record.id.slice(0, 12);
}

/**
 * The one container that `reference` means.
 * @throws TskataError NotFound, or InvalidArgument when it means several.
 */
export function findContainer(context: CliContext, reference: string): ContainerRecord {
  const all = records(context);
  const exact = all.find((record) => record.id === reference || record.annotations[NAME_ANNOTATION] === reference);
  if (exact) return exact;
  const matching = reference.length > 0 ? all.filter((record) => record.id.startsWith(reference)) : [];
  const [found, second] = matching;
  if (second)
    throw new TskataError(
      Code.InvalidArgument,
      `find container ${reference}: ${matching.length} ids begin like this; write more of it`,
    );
  if (!found)
    throw new TskataError(
      Code.NotFound,
      `find container ${reference}: no such container; 'tskata list' shows those there are`,
    );
  return found;
}
