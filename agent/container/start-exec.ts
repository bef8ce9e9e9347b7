/**
 * Owns the start of a further process in a running container: its user, its streams, its plan. The container keeps it.
 */
import { ProcessIo, type StreamIds } from '../io/process-io.ts';
import type { Child } from '../supervisor.ts';
import { CLONE } from '../sys/linux.ts';
import type { ContainerTools } from './container-tools.ts';
import { EXEC_SYNC, planExec } from './plan/exec.ts';
import type { Filter } from './plan/identity.ts';
import { Process } from './process.ts';
import type { ContainerSpec, ProcessSpec } from './spec.ts';
import { withHome } from './user.ts';
import { guestOwner, lookUpUser } from './user-files.ts';

/** An exec only joins what is there; a program on a slow share may take its time. */
export const EXEC_TIMEOUT_MS = 15_000;

export interface ExecRequest {
  readonly process: ProcessSpec;
  readonly streams: StreamIds;
  readonly init: Child;
  readonly cgroupFd: number;
  readonly joinFlags: number;
  readonly cgroupNamespaceFd: number | undefined;
  readonly filter: Filter | undefined;
  readonly mappings: Pick<ContainerSpec, 'uidMappings' | 'gidMappings'>;
  readonly wasOomKilled: () => boolean;
}

/** Settles at the exec. A failure leaves nothing behind. */
export async function startExec(tools: ContainerTools, request: ExecRequest): Promise<Process> {
  const { process: spec, cgroupFd, init } = request;
  const enter = [{ fd: init.pidfd, type: CLONE.NEWNS }];
  const user = await lookUpUser(tools, spec, { root: '/', subpath: '', enter, cgroupFd });
  const owner = guestOwner(request.mappings, user);
  const io = new ProcessIo(tools.sys, tools.loop, tools.accept, request.streams, spec.terminal, owner);
  try {
    const plan = planExec({
      process: spec,
      identity: user.identity,
      env: withHome(spec.env, user.home),
      ...(request.filter === undefined ? {} : { filter: request.filter }),
      initPidfd: init.pidfd,
      joinFlags: request.joinFlags,
      ...(request.cgroupNamespaceFd === undefined ? {} : { cgroupNamespaceFd: request.cgroupNamespaceFd }),
      cgroupFd,
      ...(io.childFds === undefined ? {} : { stdio: io.childFds }),
    });
    const { wasOomKilled } = request;
    const process = await Process.create(tools, {
      plan,
      hold: EXEC_SYNC,
      spec,
      io,
      wasOomKilled,
      timeoutMs: EXEC_TIMEOUT_MS,
    });
    await process.start(EXEC_TIMEOUT_MS, tools).catch((error: unknown) => {
      process.close();
      throw error;
    });
    return process;
  } catch (error) {
    io.close();
    throw error;
  }
}
