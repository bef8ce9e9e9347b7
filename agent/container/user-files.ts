/**
 * Owns the reading of a container's /etc/passwd and /etc/group through a child (`plan/lookup.ts`): two pipes, a bound,
 * a deadline.
 */
import { close, fcntl, pipe2, setNonBlocking } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { EPOLL, F } from '../sys/linux.ts';
import { concat, text } from '../sys/structs.ts';
import { guestId } from './ids.ts';
import { type LaunchTools, runPlan } from './launch.ts';
import { type LookupInput, MAX_USER_FILE_BYTES, planLookup } from './plan/lookup.ts';
import type { ContainerSpec, ProcessSpec } from './spec.ts';
import { needsUserFiles, type ResolvedUser, resolveUser, type UserFiles } from './user.ts';

const LOOKUP_TIMEOUT_MS = 10_000;
const NO_FILES: UserFiles = { passwd: '', group: '' };

/** Where to look. */
export type UserFilesSource = Omit<LookupInput, 'passwdFd' | 'groupFd'>;

/** The process's user, looked up in the files of the container when that is needed. Throws UserError. */
export async function lookUpUser(
  tools: LaunchTools,
  process: ProcessSpec,
  source: UserFilesSource,
): Promise<ResolvedUser> {
  return resolveUser(process, needsUserFiles(process) ? await readUserFiles(tools, source) : NO_FILES);
}

/** That user in guest ids. */
export function guestOwner(
  mappings: Pick<ContainerSpec, 'uidMappings' | 'gidMappings'>,
  { identity }: ResolvedUser,
): { readonly uid: number; readonly gid: number } {
  return {
    uid: guestId(mappings.uidMappings, identity.uid) ?? 0,
    gid: guestId(mappings.gidMappings, identity.gid) ?? 0,
  };
}

/** Reads both files; a missing one is empty. Rejects at the deadline. */
async function readUserFiles(tools: LaunchTools, source: UserFilesSource): Promise<UserFiles> {
  const passwd = openPipe(tools);
  const group = openPipe(tools);
  const passwdText = drain(tools, passwd[0]);
  const groupText = drain(tools, group[0]);
  try {
    const plan = planLookup({ ...source, passwdFd: passwd[1], groupFd: group[1] });
    const run = runPlan(tools, plan, LOOKUP_TIMEOUT_MS);
    closeBoth(tools, passwd[1], group[1]);
    await run;
    return { passwd: await passwdText.result, group: await groupText.result };
  } finally {
    passwdText.stop();
    groupText.stop();
  }
}

function openPipe(tools: LaunchTools): [number, number] {
  const pipe = pipe2(tools.sys);
  // So that one sendfile takes a whole file.
  fcntl(tools.sys, pipe[1], F.SETPIPE_SZ, MAX_USER_FILE_BYTES);
  setNonBlocking(tools.sys, pipe[0]);
  return pipe;
}

function closeBoth(tools: LaunchTools, first: number, second: number): void {
  close(tools.sys, first);
  close(tools.sys, second);
}

function drain(tools: LaunchTools, fd: number): { readonly result: Promise<string>; readonly stop: () => void } {
  const parts: Uint8Array[] = [];
  let length = 0;
  let open = true;
  let settle: (text: string) => void = () => {};
  const result = new Promise<string>((resolve) => {
    settle = resolve;
  });
  const stop = (): void => {
    if (!open) return;
    open = false;
    tools.loop.unwatch(fd);
    close(tools.sys, fd);
    settle(text(concat(parts)));
  };
  tools.loop.watch(fd, EPOLL.IN, () => {
    for (;;) {
      const buffer = new Uint8Array(16 * 1024);
      const count = tools.sys.read(fd, buffer, 0, buffer.length);
      if (count === -E.EAGAIN) return;
      if (count <= 0 || length > MAX_USER_FILE_BYTES) {
        stop();
        return;
      }
      parts.push(buffer.subarray(0, count));
      length += count;
    }
  });
  return { result, stop };
}
