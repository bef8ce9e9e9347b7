/**
 * Owns the table of Task methods, under the names of both versions: their messages are the same.
 */
import { type Binding, bind, type Handlers } from '../../agent/protocol/service.ts';
import type { TaskContext } from './context.ts';
import { controlHandlers } from './control.ts';
import { Task } from './generated/task.ts';
import { inspectionHandlers } from './inspection.ts';
import { lifecycleHandlers } from './lifecycle.ts';
import { processHandlers } from './processes.ts';

const VERSIONS = ['containerd.task.v2.Task', 'containerd.task.v3.Task'];

/** The Task service of one sandbox. */
export function taskBindings(context: TaskContext): Binding[] {
  const handlers: Handlers<typeof Task> = {
    ...lifecycleHandlers(context),
    ...processHandlers(context),
    ...inspectionHandlers(context),
    ...controlHandlers(context),
  };
  return VERSIONS.map((typeName) => bind({ ...Task, typeName }, handlers));
}
