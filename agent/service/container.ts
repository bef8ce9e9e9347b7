/** Calls about containers. */
import { cpuStats, hugetlbStats, ioStats, memoryStats, pidsStats } from '../container/cgroup/stats.ts';
import type { Container } from '../container/container.ts';
import { interfaceStats } from '../network/stats.ts';
import type { Agent, GuestProcess, StatsResponse } from '../protocol/generated/agent.ts';
import type { Handlers } from '../protocol/service.ts';
import { readFile } from '../sys/calls.ts';
import { SIG } from '../sys/linux.ts';
import type { Sys } from '../sys/sys.ts';
import { checkId, invalid } from './check.ts';
import type { ServiceContext } from './context.ts';
import { convertProcess } from './convert.ts';

const EMPTY = {};
const NO_STREAMS = { stdin: 0, stdout: 0, stderr: 0 };

type Names =
  | 'createContainer'
  | 'startContainer'
  | 'deleteContainer'
  | 'updateContainer'
  | 'pauseContainer'
  | 'resumeContainer'
  | 'statsContainer'
  | 'listProcesses'
  | 'execProcess'
  | 'signalProcess'
  | 'waitProcess'
  | 'deleteProcess'
  | 'resizeTerminal';

/** Handlers of this group. */
export function containerHandlers(context: ServiceContext): Pick<Handlers<typeof Agent>, Names> {
  const { sandbox } = context;
  const { sys } = context.tools;
  return {
    async createContainer(request, { signal }) {
      const container = await sandbox.createContainer(request);
      // Nobody waits any more, and the id is to be free again.
      if (signal.aborted) await sandbox.deleteContainer(request.containerId);
      return { guestPid: container.init.pid };
    },
    async startContainer({ containerId }, { signal }) {
      const container = sandbox.container(containerId);
      await container.start();
      if (signal.aborted) container.signalAll(SIG.KILL);
      return EMPTY;
    },
    async deleteContainer({ containerId }) {
      await sandbox.deleteContainer(containerId);
      return EMPTY;
    },
    updateContainer({ containerId, resources }) {
      if (resources === undefined) throw invalid('resources', 'is missing');
      sandbox.container(containerId).update(resources);
      return EMPTY;
    },
    async pauseContainer({ containerId }) {
      await sandbox.container(containerId).pause();
      return EMPTY;
    },
    resumeContainer({ containerId }) {
      sandbox.container(containerId).resume();
      return EMPTY;
    },
    statsContainer: ({ containerId }) => stats(sys, sandbox.container(containerId)),
    listProcesses: ({ containerId }) => ({ processes: processes(sys, sandbox.container(containerId)) }),
    async execProcess(request, { signal }) {
      const container = sandbox.container(request.containerId);
      const spec = convertProcess('process', request.process);
      const process = await container.exec(checkId('exec_id', request.execId), spec, request.streams ?? NO_STREAMS);
      if (signal.aborted) await container.endExec(request.execId);
      return { guestPid: process.pid };
    },
    signalProcess({ containerId, execId, signal, all }) {
      const container = sandbox.container(containerId);
      if (signal > 64) throw invalid('signal', `${signal} is above 64`);
      if (all) container.signalAll(signal);
      else container.process(execId).signal(signal);
      return EMPTY;
    },
    async waitProcess({ containerId, execId }) {
      const exit = await sandbox.container(containerId).process(execId).exited;
      return {
        exitStatus: exit.status,
        exitedAtNs: exit.exitedAtNs,
        oomKilled: exit.oomKilled,
        stdoutBytes: exit.stdoutBytes,
        stderrBytes: exit.stderrBytes,
      };
    },
    deleteProcess({ containerId, execId }) {
      sandbox.container(containerId).deleteProcess(execId);
      return EMPTY;
    },
    resizeTerminal({ containerId, execId, rows, columns }) {
      sandbox.container(containerId).process(execId).io.resize(rows, columns);
      return EMPTY;
    },
  };
}

function stats(sys: Sys, container: Container): StatsResponse {
  const read = (name: string): string => container.cgroup.read(name);
  const pids = pidsStats(read);
  const stopped = container.init.phase === 'stopped';
  return {
    cpu: cpuStats(read),
    memory: memoryStats(read),
    pidsCurrent: pids.current,
    pidsLimit: pids.limit,
    io: ioStats(read),
    hugetlb: hugetlbStats(read),
    // A namespace of its own ends with its last process.
    interfaces: stopped && container.hasNetwork ? [] : interfaceStats(sys, stopped ? 'self' : container.init.pid),
  };
}

function processes(sys: Sys, container: Container): GuestProcess[] {
  const found: GuestProcess[] = [];
  for (const pid of container.cgroup.pids()) {
    try {
      const status = readFile(sys, `/proc/${pid}/status`, 16 * 1024);
      const field = (name: string): string => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? '';
      found.push({
        pid,
        parentPid: Number(field('PPid')),
        uid: Number(field('Uid')),
        command: field('Name'),
      });
    } catch {
      // It has ended since the group was read.
    }
  }
  return found;
}
