/** Create, Start, Delete, Shutdown: translation only. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Handlers } from '../../agent/protocol/service.ts';
import { configPathOf } from '../../runtime/helper/runtime-options.ts';
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
      refuseOtherConfig(request, context.configPath);
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

/** The configuration is read once, at the shim's start: another one must not seem to be in force. */
function refuseOtherConfig({ id, options }: CreateTaskRequest, configPath: string): void {
  const operation = `create container ${id}`;
  const asked = configPathOf(operation, options === undefined ? [] : [options]);
  if (asked === '' || asked === configPath) return;
  const own = configPath === '' ? "the host's own" : configPath;
  throw new TskataError(
    Code.InvalidArgument,
    `${operation}: ConfigPath ${asked} came after the start of the shim, which goes by ${own} - name the file by ` +
      'containerd, which tells it at the start, or use /etc/tskata',
  );
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
