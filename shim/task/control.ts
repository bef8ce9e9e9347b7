/** Pause, Resume, Update, Checkpoint: translation only. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Handlers } from '../../agent/protocol/service.ts';
import { parseJson, parseResources } from '../../runtime/oci/validate.ts';
import type { TaskContext } from './context.ts';
import type { Task } from './generated/task.ts';

type Control = Pick<Handlers<typeof Task>, 'pause' | 'resume' | 'update' | 'checkpoint'>;

export function controlHandlers(context: TaskContext): Control {
  const { sandbox } = context;
  return {
    pause: async ({ id }) => {
      const container = sandbox.container(id);
      await container.lock.run(() => container.pause());
      return {};
    },

    resume: async ({ id }) => {
      const container = sandbox.container(id);
      await container.lock.run(() => container.resume());
      return {};
    },

    update: async ({ id, resources }) => {
      const container = sandbox.container(id);
      const subject = `update container ${id}`;
      if (resources === undefined) throw new TskataError(Code.InvalidArgument, `${subject}: without resources`);
      const text = new TextDecoder('utf-8', { fatal: true }).decode(resources.value);
      const parsed = parseResources(subject, parseJson(subject, text));
      await container.lock.run(() => sandbox.update(id, parsed));
      return {};
    },

    checkpoint: ({ id }) => {
      throw new TskataError(Code.Unimplemented, `checkpoint container ${id}: not implemented`);
    },
  };
}
