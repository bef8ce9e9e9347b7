/**
 * Owns one container: its init, its execs, its lock, and the calls that change it. Refuses to know how it was made
 * (sandbox.ts) and what clients call these operations.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { StatsResponse } from '../../agent/protocol/generated/agent.ts';
import { within } from '../host/step.ts';
import { personalityNumber } from '../oci/scheduling.ts';
import type { Spec, SpecProcess, SpecResources } from '../oci/spec.ts';
import type { RootfsMount } from '../storage/plan.ts';
import type { SandboxOptions } from './config.ts';
import { processMessage } from './container-spec.ts';
import { DELETE_DRAIN_MS, QUICK_CALL_MS, START_CALL_MS } from './deadlines.ts';
import type { SandboxListener } from './events.ts';
import { endInGuest, isUnanswered } from './give-up.ts';
import type { Machine } from './machine.ts';
import { Mutex } from './mutex.ts';
import { OomReports } from './oom-reports.ts';
import { GuestProcess, type ProcessHooks } from './process.ts';
import { type OpenProcessIo, type StdioPaths, streamIds } from './process-io.ts';
import { resourcesMessage } from './resources.ts';
import type { StandIn } from './stand-in.ts';
import type { ProcessExit } from './status.ts';
import { mergeResources } from './update.ts';

/** How long an init's exit waits for those of its execs, which end with it. */
const EXECS_END_MS = 1_000;
/** How long an exit waits for the end of the container's stand-in. */
const STAND_IN_END_MS = 500;
const SIGKILL = 9;
const QUICK = { timeoutMs: QUICK_CALL_MS };

/** What a container is made of. */
export interface ContainerParts {
  readonly id: string;
  readonly bundle: string;
  readonly spec: Spec;
  readonly options: SandboxOptions;
  readonly rootfs: readonly RootfsMount[];
  readonly stdio: StdioPaths;
  /** Its number is the init's; it ends with the init. */
  readonly standIn: StandIn;
  /** Host process number of the machine's QEMU. */
  readonly machinePid: number;
  readonly createdAt: Date;
  /** What follows the start of the init, before its caller is answered. When it rejects, the container is killed. */
  readonly afterStart: () => Promise<void>;
  /** The machine, or an error that says why there is none. */
  readonly machine: (operation: string) => Machine;
  /** The number of one more exec. Throws ResourceExhausted when the sandbox has all that it can hold. */
  readonly nextExecPid: () => number;
  readonly listener: SandboxListener;
}

/** A process to run beside the init. */
export interface ExecRequest {
  readonly execId: string;
  readonly process: SpecProcess;
  readonly stdio: StdioPaths;
  /** Opens what `stdio` names, at the start. */
  readonly openIo: OpenProcessIo;
}

export class Container {
  readonly id: string;
  readonly bundle: string;
  readonly spec: Spec;
  /** What its annotations say, as far as they were honoured. */
  readonly options: SandboxOptions;
  readonly rootfs: readonly RootfsMount[];
  readonly createdAt: Date;
  readonly machinePid: number;
  readonly init: GuestProcess;
  /** Held by whatever changes the container; State and Wait never take it. */
  readonly lock = new Mutex();
  readonly #parts: ContainerParts;
  readonly #execs = new Map<string, { readonly process: GuestProcess; readonly request: ExecRequest }>();
  #resources: SpecResources;
  #paused = false;
  readonly #oomReports = new OomReports();

  constructor(parts: ContainerParts) {
    this.#parts = parts;
    this.id = parts.id;
    this.bundle = parts.bundle;
    this.spec = parts.spec;
    this.options = parts.options;
    this.#resources = parts.spec.linux?.resources ?? {};
    this.rootfs = parts.rootfs;
    this.createdAt = parts.createdAt;
    this.machinePid = parts.machinePid;
    this.init = new GuestProcess({
      containerId: parts.id,
      execId: '',
      stdio: parts.stdio,
      pid: parts.standIn.pid,
      hooks: this.#hooks(),
    });
    void this.#followStandIn();
  }

  /** Its limits, with every update. */
  get resources(): SpecResources {
    return this.#resources;
  }

  get paused(): boolean {
    return this.#paused;
  }

  /** The init, then the execs in the order in which they were added. */
  get processes(): readonly GuestProcess[] {
    return [this.init, ...[...this.#execs.values()].map((exec) => exec.process)];
  }

  /** The process with this exec id; the init for an empty one. Throws NotFound. */
  process(execId: string): GuestProcess {
    if (execId === '') return this.init;
    const exec = this.#execs.get(execId);
    if (exec === undefined)
      throw new TskataError(Code.NotFound, `process ${execId} of container ${this.id} does not exist`);
    return exec.process;
  }

  /** Starts the init or a registered exec. */
  async start(execId: string): Promise<GuestProcess> {
    const process = this.process(execId);
    const machine = this.#parts.machine(`start ${this.#name(execId)}`);
    if (execId !== '') {
      await this.#startExec(process, machine);
      return process;
    }
    try {
      await process.start(async () => {
        const call = machine.guest.call.startContainer({ containerId: this.id }, { timeoutMs: START_CALL_MS });
        await this.#started(machine, '', call);
      });
    } catch (error) {
      if (process.status.name === 'stopped') await this.#endStandIn();
      throw error;
    }
    try {
      await this.#parts.afterStart();
    } catch (error) {
      // It may have ended by itself.
      await this.kill('', SIGKILL, true).catch(() => undefined);
      throw error;
    }
    return process;
  }

  /** Registers an exec; nothing runs until `start`. */
  addExec(request: ExecRequest): GuestProcess {
    const { execId, stdio } = request;
    if (this.#execs.has(execId))
      throw new TskataError(Code.AlreadyExists, `exec ${execId} of container ${this.id} already exists`);
    if (this.init.status.name !== 'running') throw this.#notRunning(`exec ${execId}`);
    const process = new GuestProcess({
      containerId: this.id,
      execId,
      stdio,
      pid: this.#parts.nextExecPid(),
      hooks: this.#hooks(),
    });
    this.#execs.set(execId, { process, request });
    this.#parts.listener({ type: 'exec-added', container: this, process });
    return process;
  }

  /** Sends a signal. NotFound when the process has ended. */
  async kill(execId: string, signal: number, all: boolean): Promise<void> {
    const process = this.process(execId);
    if (process.status.name === 'stopped') throw new TskataError(Code.NotFound, 'process already finished');
    if (execId !== '' && process.status.name === 'created') {
      throw new TskataError(Code.FailedPrecondition, `kill ${this.#name(execId)}: it has not been started`);
    }
    const machine = this.#parts.machine(`kill ${this.#name(execId)}`);
    try {
      await machine.guest.call.signalProcess({ containerId: this.id, execId, signal, all }, QUICK);
    } catch (caught) {
      const error = TskataError.from(caught);
      if (error.code === Code.NotFound) throw new TskataError(Code.NotFound, 'process already finished');
      // A guest in which nothing can be killed any more holds its containers for ever: it goes as a whole.
      if (signal !== SIGKILL || !isUnanswered(error)) throw error;
      machine.fail('the agent did not carry out a kill');
    }
  }

  async resize(execId: string, columns: number, rows: number): Promise<void> {
    const process = this.process(execId);
    if (process.status.name === 'stopped') throw new TskataError(Code.NotFound, 'process already finished');
    // An exec that is registered only has no terminal yet; clients resize again after the start.
    if (process.status.name === 'created' && execId !== '') return;
    // Nor has a process without one; that is no mistake to the reference shim.
    if (!this.#hasTerminal(execId)) return;
    const { guest } = this.#parts.machine(`resize ${this.#name(execId)}`);
    await guest.call.resizeTerminal({ containerId: this.id, execId, rows, columns }, QUICK);
  }

  /** Ends the input of a process after what its client has written. */
  closeInput(execId: string): void {
    this.process(execId).io?.closeInput();
  }

  async pause(): Promise<void> {
    if (this.#paused) return;
    if (this.init.status.name !== 'running') throw this.#notRunning('pause');
    await this.#parts.machine(`pause container ${this.id}`).guest.call.pauseContainer({ containerId: this.id }, QUICK);
    this.#paused = true;
    this.#parts.listener({ type: 'paused', container: this });
  }

  async resume(): Promise<void> {
    if (!this.#paused) throw new TskataError(Code.FailedPrecondition, `resume container ${this.id}: it is not paused`);
    await this.#parts
      .machine(`resume container ${this.id}`)
      .guest.call.resumeContainer({ containerId: this.id }, QUICK);
    this.#paused = false;
    this.#parts.listener({ type: 'resumed', container: this });
  }

  async update(resources: SpecResources): Promise<void> {
    const { guest } = this.#parts.machine(`update container ${this.id}`);
    await guest.call.updateContainer({ containerId: this.id, resources: resourcesMessage(resources) }, QUICK);
    this.#resources = mergeResources(this.#resources, resources);
  }

  /** The counters of its cgroup, which stay until it is deleted. Throws Unavailable when the machine has ended. */
  stats(): Promise<StatsResponse> {
    return this.#parts
      .machine(`stats of container ${this.id}`)
      .guest.call.statsContainer({ containerId: this.id }, QUICK);
  }

  /** Forgets an ended or never started exec. */
  async deleteExec(execId: string): Promise<ProcessExit> {
    const process = this.process(execId);
    const { status } = process;
    if (status.name === 'running' || status.name === 'starting') {
      throw new TskataError(Code.FailedPrecondition, `delete exec ${execId} of container ${this.id}: it is running`);
    }
    const exit = status.name === 'stopped' ? status.exit : { status: 0, at: new Date(), oomKilled: false };
    await this.#releaseIo(process);
    if (status.name === 'stopped') await this.#forgetInGuest(execId);
    process.discard(exit);
    this.#execs.delete(execId);
    this.#parts.listener({ type: 'deleted', container: this, process, exit });
    return exit;
  }

  /** Ends copying for every process: what had been written before the exit gets out first, within a bound. */
  async releaseIo(): Promise<void> {
    await Promise.all(this.processes.map((process) => this.#releaseIo(process)));
  }

  /** The guest says how many processes of this container the kernel has killed for memory so far. None is told after the init's exit. */
  tellOom(kills: bigint): void {
    if (this.init.status.name !== 'stopped') this.#tellOom(kills);
  }

  /** Ends every process, execs first. */
  async endWithMachine(reason: string): Promise<void> {
    const [init, ...execs] = this.processes;
    await Promise.all(this.processes.map((process) => process.drainDead()));
    for (const process of execs) process.endWithMachine(reason);
    init?.endWithMachine(reason);
    await this.#endStandIn();
  }

  async #startExec(process: GuestProcess, machine: Machine): Promise<void> {
    const { execId } = process;
    const exec = this.#execs.get(execId);
    if (exec === undefined)
      throw new TskataError(Code.NotFound, `process ${execId} of container ${this.id} does not exist`);
    if (this.init.status.name !== 'running') throw this.#notRunning(`start exec ${execId}`);
    const { guest } = machine;
    await process.start(async () => {
      const io = exec.request.openIo(process.stdio);
      try {
        const streams = streamIds(process.attach(io, guest));
        const request = {
          containerId: this.id,
          execId,
          process: processMessage(exec.request.process, personalityNumber(this.spec)),
          streams,
        };
        await this.#started(machine, execId, guest.call.execProcess(request, { timeoutMs: START_CALL_MS }));
      } catch (error) {
        await io.close();
        throw error;
      }
      process.watch(guest);
    });
  }

  /** The result of a start. What was given up must not run on in the guest, unseen. */
  async #started(machine: Machine, execId: string, call: Promise<unknown>): Promise<void> {
    try {
      await machine.explained(call);
    } catch (error) {
      if (isUnanswered(error)) await endInGuest(machine.guest, this.id, execId);
      throw error;
    }
  }

  async #releaseIo(process: GuestProcess): Promise<void> {
    if (process.io === undefined) return;
    await within(DELETE_DRAIN_MS, process.io.ended(), undefined);
    await process.io.close();
  }

  async #forgetInGuest(execId: string): Promise<void> {
    try {
      await this.#parts.machine('delete exec').guest.call.deleteProcess({ containerId: this.id, execId }, QUICK);
    } catch {
      // The exec never came to be, or the guest is gone: there is nothing to forget.
    }
  }

  #hooks(): ProcessHooks {
    const { listener } = this.#parts;
    return {
      started: (process) => listener({ type: 'started', container: this, process }),
      ending: async (process) => {
        if (process === this.init) await Promise.all([this.#execsEnded(), this.#endStandIn()]);
      },
      exited: (process, exit) => {
        // A first kill is known from the exit at the latest: it is told before.
        if (exit.oomKilled) this.#tellOom(1n);
        listener({ type: 'exited', container: this, process, exit });
      },
    };
  }

  #tellOom(kills: bigint): void {
    if (this.#oomReports.isNews(kills)) this.#parts.listener({ type: 'oom', container: this });
  }

  /** Somebody on the host killed the number that stands for this container: that was meant for the container. */
  async #followStandIn(): Promise<void> {
    const byItself = await this.#parts.standIn.ended;
    if (!byItself || this.init.status.name === 'stopped') return;
    // Whoever killed it waits for the exit; a kill that fails has ended the machine, or the container is gone.
    await this.kill('', SIGKILL, true).catch(() => undefined);
  }

  async #endStandIn(): Promise<void> {
    await within(STAND_IN_END_MS, this.#parts.standIn.end(), undefined);
  }

  /** The end of a PID namespace ends the execs in it: theirs is told first. */
  async #execsEnded(): Promise<void> {
    const running = [...this.#execs.values()]
      .map((exec) => exec.process)
      .filter((process) => process.status.name === 'running');
    if (running.length > 0)
      await within(EXECS_END_MS, Promise.all(running.map((process) => process.exited)), undefined);
  }

  #hasTerminal(execId: string): boolean {
    const process = execId === '' ? this.spec.process : this.#execs.get(execId)?.request.process;
    return process?.terminal === true;
  }

  #name(execId: string): string {
    return execId === '' ? `container ${this.id}` : `exec ${execId} of container ${this.id}`;
  }

  #notRunning(operation: string): TskataError {
    return new TskataError(Code.FailedPrecondition, `${operation}: container ${this.id} is not running`);
  }
}
