/** Create, Start, Delete, Shutdown: translation only. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Handlers } from '../../agent/protocol/service.ts';
import { isValidName } from '../../runtime/state/store.ts';
import { openProcessIo } from '../io/open.ts';
import type { TaskContext } from './context.ts';
import { stdioPaths, timestamp } from './convert.ts';
import type { CreateTaskRequest, Task } from './generated/task.ts';

type Lifecycle = Pick<Handlers<typeof Task>, 'create' | 'start' | 'delete' | 'shutdown'>;

export function lifecycleHandlers(context: TaskContext): Lifecycle {
  const { sandbox, namespace } = context;
  return {
    create: async (request, { signal }) => {
      refuseUnsupported(request);
      const { id, bundle } = request;
      if (sandbox.has(id)) throw new TskataError(Code.AlreadyExists, `container ${id} already exists`);
      try {
        context.onCreating(id, bundle);
        const container = await sandbox.create({
          id,
          bundle,
          rootfs: request.rootfs.map(({ type, source, options }) => ({ type, source, options })),
          stdio: stdioPaths(request),
          signal,
          openIo: (paths, { logFile }) => openProcessIo(paths, { namespace, containerId: id, logFile }),
        });
        return { pid: container.init.pid };
      } catch (error) {
        context.onCreateFailed(id);
        throw error;
      }
    },

    start: async ({ id, execId }) => {
      const container = sandbox.container(id);
      // An exec does not wait for another: only the init's start excludes what changes the container.
      const process =
        execId === '' ? await container.lock.run(() => container.start('')) : await container.start(execId);
      return { pid: process.pid };
    },

    delete: async ({ id, execId }) => {
      const container = sandbox.container(id);
      const { pid } = container.process(execId);
      const exit =
        execId === '' ? await container.lock.run(() => sandbox.delete(id)) : await container.deleteExec(execId);
      return { pid, exitStatus: exit.status, exitedAt: timestamp(exit.at) };
    },

    shutdown: async ({ now }) => {
      if (now || sandbox.idle) await context.shutdown();
      return {};
    },
  };
}

function refuseUnsupported(request: CreateTaskRequest): void {
  if (!isValidName(request.id))
    throw new TskataError(Code.InvalidArgument, `create container '${request.id}': not a valid id`);
  if (request.checkpoint !== '' || request.parentCheckpoint !== '') {
    throw new TskataError(
      Code.Unimplemented,
      `create container ${request.id}: restoring from a checkpoint is not implemented`,
    );
  }
}
