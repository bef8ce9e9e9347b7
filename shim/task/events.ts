/**
 * Owns the table from what a sandbox tells to containerd's topics and messages. Refuses to know who gets them.
 */
import type { Init } from '../../agent/protocol/message.ts';
import type { SandboxEvent } from '../../runtime/sandbox/events.ts';
import { any, timestamp } from './convert.ts';
import * as messages from './generated/events.ts';
import type { Any } from './generated/google.ts';

/** An event as containerd names it. */
export interface TopicEvent {
  readonly topic: string;
  readonly event: Init<Any>;
}

export function topicEvent(event: SandboxEvent): TopicEvent {
  const { container } = event;
  const containerId = container.id;
  switch (event.type) {
    case 'created': {
      const { stdin, stdout, stderr, terminal } = container.init.stdio;
      const io = { stdin, stdout, stderr, terminal };
      const rootfs = container.rootfs.map((mount) => ({ ...mount, target: '' }));
      const create = { containerId, bundle: container.bundle, rootfs, io, pid: container.init.pid };
      return { topic: '/tasks/create', event: any(messages.TaskCreate, create) };
    }
    case 'exec-added':
      return {
        topic: '/tasks/exec-added',
        event: any(messages.TaskExecAdded, { containerId, execId: event.process.execId }),
      };
    case 'started': {
      const { execId, pid } = event.process;
      if (execId === '') return { topic: '/tasks/start', event: any(messages.TaskStart, { containerId, pid }) };
      return { topic: '/tasks/exec-started', event: any(messages.TaskExecStarted, { containerId, execId, pid }) };
    }
    case 'oom':
      return { topic: '/tasks/oom', event: any(messages.TaskOOM, { containerId }) };
    case 'exited': {
      const { execId, pid } = event.process;
      const id = execId === '' ? containerId : execId;
      const exit = { containerId, id, pid, exitStatus: event.exit.status, exitedAt: timestamp(event.exit.at) };
      return { topic: '/tasks/exit', event: any(messages.TaskExit, exit) };
    }
    case 'deleted': {
      const { execId, pid } = event.process;
      const exit = { containerId, id: execId, pid, exitStatus: event.exit.status, exitedAt: timestamp(event.exit.at) };
      return { topic: '/tasks/delete', event: any(messages.TaskDelete, exit) };
    }
    case 'paused':
      return { topic: '/tasks/paused', event: any(messages.TaskPaused, { containerId }) };
    case 'resumed':
      return { topic: '/tasks/resumed', event: any(messages.TaskResumed, { containerId }) };
  }
}
