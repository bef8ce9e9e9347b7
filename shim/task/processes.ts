/** Exec, Kill, ResizePty, CloseIO, Pids: translation only. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Handlers } from '../../agent/protocol/service.ts';
import type { SpecProcess } from '../../runtime/oci/spec.ts';
import { parseJson, parseProcess } from '../../runtime/oci/validate.ts';
import type { GuestProcess } from '../../runtime/sandbox/process.ts';
import { isValidName } from '../../runtime/state/store.ts';
import { openProcessIo } from '../io/open.ts';
import type { TaskContext } from './context.ts';
import { stdioPaths } from './convert.ts';
import type { ExecProcessRequest, Task } from './generated/task.ts';

type Processes = Pick<Handlers<typeof Task>, 'exec' | 'kill' | 'resizePty' | 'closeIO' | 'pids'>;

/** RT signals included. */
const MAX_SIGNAL = 64;

export function processHandlers(context: TaskContext): Processes {
  const { sandbox, namespace } = context;
  return {
    exec: (request) => {
      if (!isValidName(request.execId))
        throw new TskataError(Code.InvalidArgument, `exec '${request.execId}': not a valid id`);
      const container = sandbox.container(request.id);
      container.addExec({
        execId: request.execId,
        process: execProcess(request),
        stdio: stdioPaths(request),
        openIo: (paths) => openProcessIo(paths, { namespace, containerId: request.id }),
      });
      return {};
    },

    kill: async ({ id, execId, signal, all }) => {
      if (signal > MAX_SIGNAL) throw new TskataError(Code.InvalidArgument, `kill: ${signal} is not a signal`);
      await sandbox.container(id).kill(execId, signal, all);
      return {};
    },

    resizePty: async ({ id, execId, width, height }) => {
      await sandbox.container(id).resize(execId, width, height);
      return {};
    },

    closeIO: ({ id, execId, stdin }) => {
      if (stdin) sandbox.container(id).closeInput(execId);
      return {};
    },

    // By the numbers that we gave. An ended init is listed until Delete: containerd 1.7 and later take a shim without
    // processes for a leaked one after their restart, and its exit would be lost.
    pids: ({ id }) => {
      const { init, processes } = sandbox.container(id);
      const listed = processes.filter((process) => process === init || isLive(process));
      return { processes: listed.map((process) => ({ pid: process.pid })) };
    },
  };
}

/** Whether it runs; an exec that is registered only is no process yet. */
function isLive({ status }: GuestProcess): boolean {
  return status.name === 'running' || status.name === 'starting';
}

/** The process of an exec; its terminal is what the call says, as the reference shim has it. */
function execProcess(request: ExecProcessRequest): SpecProcess {
  const subject = `exec ${request.execId}`;
  if (request.spec === undefined) throw new TskataError(Code.InvalidArgument, `${subject}: without a process`);
  const text = new TextDecoder('utf-8', { fatal: true }).decode(request.spec.value);
  return { ...parseProcess(subject, parseJson(subject, text)), terminal: request.terminal };
}
