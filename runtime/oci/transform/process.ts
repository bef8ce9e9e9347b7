/** The process section: program, environment, directory, user, terminal (OCI runtime spec, "Process"). */
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import type { ContainerRequest } from '../request.ts';
import type { Transform } from './transform.ts';

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const SHORT_ID = 12;

/** A new entrypoint drops the image's command too, as docker does. */
function programOf(request: ContainerRequest): string[] {
  if (request.entrypoint !== undefined) return [...request.entrypoint, ...request.command];
  const command = request.command.length > 0 ? request.command : request.image.cmd;
  return [...request.image.entrypoint, ...command];
}

function nameOf(entry: string): string {
  return entry.slice(0, entry.indexOf('='));
}

/** Later entries win; the place of the first stays. */
function mergeEnvironment(...layers: readonly (readonly string[])[]): string[] {
  const merged = new Map<string, string>();
  for (const entry of layers.flat()) merged.set(nameOf(entry), entry);
  return [...merged.values()];
}

export const process: Transform = (draft, request) => {
  const args = programOf(request);
  if (args.length === 0) {
    throw new TskataError(Code.InvalidArgument, 'the image names no program: give one after the image name');
  }
  draft.hostname = request.hostname ?? request.id.slice(0, SHORT_ID);
  const own = [DEFAULT_PATH, `HOSTNAME=${draft.hostname}`, ...(request.terminal ? ['TERM=xterm'] : [])];
  const user = request.user ?? request.image.user;
  draft.process = {
    ...draft.process,
    args,
    env: mergeEnvironment(own, request.image.env, request.env),
    cwd: request.workingDir ?? (request.image.workingDir || '/'),
    user: { uid: 0, gid: 0, ...(user === '' ? {} : { username: user }) },
    terminal: request.terminal !== undefined,
    ...(request.terminal ? { consoleSize: { height: request.terminal.rows, width: request.terminal.columns } } : {}),
  };
};
