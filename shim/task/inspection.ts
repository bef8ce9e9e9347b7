/** State, Wait, Connect, Stats: translation only. None of them takes a lock. */
import type { Handlers } from '../../agent/protocol/service.ts';
import type { TaskContext } from './context.ts';
import { any, statusNumber, timestamp } from './convert.ts';
import { Metrics } from './generated/cgroups.ts';
import type { Task } from './generated/task.ts';
import { metrics } from './metrics.ts';

type Inspection = Pick<Handlers<typeof Task>, 'state' | 'wait' | 'connect' | 'stats'>;

export function inspectionHandlers(context: TaskContext): Inspection {
  const { sandbox, shimPid } = context;
  return {
    state: ({ id, execId }) => {
      const container = sandbox.container(id);
      const process = container.process(execId);
      const { status, stdio } = process;
      const exit =
        status.name === 'stopped' ? { exitStatus: status.exit.status, exitedAt: timestamp(status.exit.at) } : {};
      const { bundle } = container;
      // A registered exec has no process yet.
      const pid = execId !== '' && status.name === 'created' ? 0 : process.pid;
      return { id, execId, bundle, pid, status: statusNumber(container, process), ...stdio, ...exit };
    },

    wait: async ({ id, execId }) => {
      const exit = await sandbox.container(id).process(execId).exited;
      return { exitStatus: exit.status, exitedAt: timestamp(exit.at) };
    },

    connect: ({ id }) => ({ shimPid, taskPid: sandbox.container(id).init.pid, version: '2' }),

    stats: async ({ id }) => ({ stats: any(Metrics, metrics(await sandbox.container(id).stats())) }),
  };
}
