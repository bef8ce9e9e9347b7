/** Pods through `ctr`, with the annotations by which containerd's CRI groups containers, and what became of them. */
import type { ChildProcess } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerRecord } from '../../runtime/state/record.ts';
import { StateStore } from '../../runtime/state/store.ts';
import type { Containerd } from './containerd.ts';
import { eventually, type Result, watchOutput } from './tskata.ts';

const STOP_TIMEOUT_MS = 30_000;

/** What `ctr task ls` says of one. */
export interface ListedTask {
  readonly pid: number;
  readonly status: string;
}

/** An event as `ctr events` prints it. */
export interface SeenEvent {
  readonly atMs: number;
  /** Without "/tasks/". */
  readonly topic: string;
  readonly container: string;
  readonly process: string;
}

export class CtrPods {
  readonly containerd: Containerd;
  readonly #rootfs: string;
  readonly #store: StateStore;
  readonly #runtime: string;

  constructor(containerd: Containerd, runtime = 'io.containerd.tskata.v2') {
    this.containerd = containerd;
    this.#runtime = runtime;
    this.#store = new StateStore(containerd.runRoot);
    this.#rootfs = join(containerd.directory, 'rootfs');
    for (const name of ['bin', 'proc', 'sys', 'dev', 'etc', 'tmp']) {
      mkdirSync(join(this.#rootfs, name), { recursive: true });
    }
    copyFileSync('/bin/busybox', join(this.#rootfs, 'bin/busybox'));
    for (const name of ['sh', 'sleep', 'true']) {
      const path = join(this.#rootfs, 'bin', name);
      if (!existsSync(path)) symlinkSync('busybox', path);
    }
  }

  /** Starts a pod's sandbox container; `flags` are more of `ctr run`. */
  async sandbox(pod: string, flags: readonly string[] = []): Promise<void> {
    await this.#ok(...this.runCommand(pod, 'sandbox', pod, ['sleep', '1000000'], flags));
  }

  /** Starts a container in a pod. */
  async container(pod: string, id: string, ...command: string[]): Promise<void> {
    await this.#ok(...this.runCommand(pod, 'container', id, command));
  }

  /** Runs a container in a pod to its end, and removes it. */
  async toEnd(pod: string, id: string, ...command: string[]): Promise<void> {
    const [verb = '', , ...rest] = this.runCommand(pod, 'container', id, command);
    await this.#ok(verb, '--rm', ...rest);
  }

  /** Starts a container with a machine of its own. */
  async single(id: string, flags: readonly string[], ...command: string[]): Promise<void> {
    await this.#ok('run', '-d', ...flags, ...this.#flags(id), '--rootfs', this.#rootfs, id, ...command);
  }

  /** Arguments of `ctr` that run a container with a machine of its own to its end, and remove it. */
  foreground(id: string, flags: readonly string[], ...command: readonly string[]): string[] {
    return ['run', '--rm', ...flags, ...this.#flags(id), '--rootfs', this.#rootfs, id, ...command];
  }

  /** Arguments of `ctr` that create and start a container without waiting for it. */
  runCommand(
    pod: string,
    type: 'sandbox' | 'container',
    id: string,
    command: readonly string[],
    flags: readonly string[] = [],
  ): string[] {
    return [
      ...['run', '-d', '--rootfs', ...this.#flags(id), ...flags],
      ...['--annotation', `io.kubernetes.cri.container-type=${type}`],
      ...['--annotation', `io.kubernetes.cri.sandbox-id=${pod}`],
      ...[this.#rootfs, id, ...command],
    ];
  }

  /** Runs a command in a container to its end. */
  exec(id: string, execId: string, ...command: string[]): Promise<Result> {
    return this.containerd.ctr(['task', 'exec', '--exec-id', execId, id, ...command]);
  }

  async tasks(): Promise<Map<string, ListedTask>> {
    const { stdout } = await this.#call('task', 'ls');
    const lines = stdout.split('\n').slice(1);
    return new Map(
      lines.flatMap((line) => {
        const [id = '', pid = '', status = ''] = line.trim().split(/\s+/);
        return id === '' ? [] : [[id, { pid: Number(pid), status }] as const];
      }),
    );
  }

  async containers(): Promise<string[]> {
    return (await this.#ok('container', 'ls', '-q')).split('\n').filter((line) => line !== '');
  }

  /** Ends and removes a container, whatever is left of it. */
  async remove(id: string): Promise<void> {
    if ((await this.tasks()).has(id)) {
      await this.#call('task', 'kill', '-s', 'SIGKILL', id);
      const ended = async (): Promise<boolean> => {
        const status = (await this.tasks()).get(id)?.status;
        return status === undefined || status === 'STOPPED';
      };
      await eventually(ended, STOP_TIMEOUT_MS, `the end of ${id}`);
      const { status, stderr } = await this.#call('task', 'rm', id);
      if (status !== 0 && (await this.tasks()).has(id)) throw new Error(`task ${id} not removed: ${stderr}`);
    }
    if ((await this.containers()).includes(id)) await this.#ok('container', 'rm', id);
  }

  /** The shim's own record. */
  record(id: string): ContainerRecord {
    const record = this.#store.find('default', id);
    if (record === undefined) throw new Error(`there is no record of ${id}`);
    return record;
  }

  /** Follows the events of tasks. The caller ends the process. */
  events(): { readonly child: ChildProcess; seen(): SeenEvent[] } {
    const { containerd } = this;
    const child = containerd.namespaces.start([...containerd.ctrCommand, 'events']);
    const output = watchOutput(child);
    return { child, seen: () => output.text().split('\n').flatMap(parseEvent) };
  }

  /** Its own parent for cgroups: the ids of other tests may be the same. */
  #flags(id: string): string[] {
    return ['--runtime', this.#runtime, '--cgroup', `${this.containerd.cgroupParent}/${id}`];
  }

  #call(...args: readonly string[]): Promise<Result> {
    return this.containerd.ctr(args);
  }

  async #ok(...args: readonly string[]): Promise<string> {
    const { status, stdout, stderr } = await this.#call(...args);
    if (status !== 0) throw new Error(`ctr ${args.join(' ')} ended with ${status}: ${stderr}`);
    return stdout;
  }
}

/** "2026-11-25 22:59:37.123456789 +0000 UTC default /tasks/exit {...}". */
function parseEvent(line: string): SeenEvent[] {
  const match = /^(\S+) (\S+) \+0000 UTC \S+ \/tasks\/(\S+) (\{.*\})$/.exec(line);
  if (match === null) return [];
  const [, date, time, topic = '', json = ''] = match;
  const event = JSON.parse(json) as { container_id?: string; id?: string; exec_id?: string };
  const container = event.container_id ?? '';
  return [{ atMs: Date.parse(`${date}T${time}Z`), topic, container, process: event.exec_id ?? event.id ?? container }];
}
