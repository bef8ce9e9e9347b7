/**
 * A guest for tests of the sandbox and the shim: the agent's services over the real bytes, with programs that are a few
 * lines each, and a machine around it that boots, ends and is killed on demand.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Agent, CreateContainerRequest, Process, Streams } from '../../agent/protocol/generated/agent.ts';
import type { MuxStream } from '../../agent/protocol/mux/stream.ts';
import type { AgentServer } from '../../agent/protocol/serve.ts';
import type { Handlers } from '../../agent/protocol/service.ts';
import type { DiskConfig, NicConfig, ShareConfig, Vm, VmConfig, VmEnd, VmFactory } from '../../runtime/vm/vm.ts';
import { type AgentPeer, agentPeer } from './agent-peer.ts';

interface Exit {
  readonly status: number;
  readonly oomKilled?: boolean;
}

/** One process of the fake guest. */
class FakeProcess {
  readonly process: Process;
  readonly exited = Promise.withResolvers<Exit>();
  phase: 'created' | 'running' | 'stopped' = 'created';
  stdoutBytes = 0n;
  stderrBytes = 0n;
  readonly stdin: MuxStream | undefined;
  readonly stdout: MuxStream | undefined;
  readonly stderr: MuxStream | undefined;
  readonly signals: number[] = [];
  onSignal: (signal: number) => void = (signal) => this.exit(128 + signal);

  constructor(process: Process, streams: Streams | undefined, agent: AgentServer) {
    this.process = process;
    const accept = (id: number | undefined): MuxStream | undefined =>
      id === undefined || id === 0 ? undefined : agent.mux.accept(id);
    this.stdin = accept(streams?.stdin);
    this.stdout = accept(streams?.stdout);
    this.stderr = accept(streams?.stderr);
    for (const stream of [this.stdin, this.stdout, this.stderr]) {
      if (stream !== undefined) stream.onAbort = () => undefined;
    }
  }

  /** Writes as a pipe does: counted at once, sent when there is credit. */
  async write(which: 'stdout' | 'stderr', bytes: Uint8Array): Promise<void> {
    const stream = this[which];
    if (which === 'stdout') this.stdoutBytes += BigInt(bytes.length);
    else this.stderrBytes += BigInt(bytes.length);
    if (stream === undefined) return;
    for (let at = 0; at < bytes.length; ) {
      at += await new Promise<number>((resolve) => {
        stream.whenWritable((most) => {
          const piece = bytes.subarray(at, at + most);
          stream.send(piece);
          resolve(piece.length);
        });
      });
    }
  }

  exit(status: number, more: Omit<Exit, 'status'> = {}, closeStreams = true): void {
    if (closeStreams) {
      this.stdout?.end();
      this.stderr?.end();
    }
    this.phase = 'stopped';
    this.exited.resolve({ status, ...more });
  }
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** What a program does; args[0] chooses it. Unknown ones do not exist. */
type Program = (self: FakeProcess, args: readonly string[]) => void | Promise<void>;

const PROGRAMS: Readonly<Record<string, Program>> = {
  true: (self) => self.exit(0),
  exit: (self, [, status]) => self.exit(Number(status)),
  sleep: () => undefined,
  echo: async (self, [, ...words]) => {
    await self.write('stdout', text(`${words.join(' ')}\n`));
    self.exit(0);
  },
  both: async (self) => {
    await self.write('stdout', text('out\n'));
    await self.write('stderr', text('err\n'));
    self.exit(4);
  },
  /** Everything is in the pipe, and the process is gone: what a fast writer looks like. */
  burst: (self, [, bytes]) => {
    void self.write('stdout', new Uint8Array(Number(bytes)).fill(0x61)).then(() => self.stdout?.end());
    self.exit(0, {}, false);
  },
  /** An orphan keeps the pipe open after the exit. */
  orphan: async (self) => {
    await self.write('stdout', text('before\n'));
    self.exit(7, {}, false);
  },
  oom: (self) => self.exit(137, { oomKilled: true }),
  cat: (self) => {
    const { stdin } = self;
    if (stdin === undefined) return self.exit(0);
    let tail = Promise.resolve();
    stdin.onData = (bytes) => {
      const copy = bytes.slice();
      tail = tail.then(async () => {
        await self.write('stdout', copy);
        stdin.consumed(copy.length);
      });
    };
    stdin.onEnd = () => void tail.then(() => self.exit(0));
  },
};

interface FakeContainer {
  readonly request: CreateContainerRequest;
  readonly init: FakeProcess;
  readonly execs: Map<string, FakeProcess>;
}

/** The state of one fake guest. */
export class FakeGuest {
  readonly peer: AgentPeer;
  readonly containers = new Map<string, FakeContainer>();
  /** Method names in the order in which they came. */
  readonly calls: string[] = [];
  /** Calls that are carried out, but whose next answer does not come in time. */
  readonly lost = new Set<string>();
  /** Replaces or delays handlers. */
  readonly overrides: Partial<Handlers<typeof Agent>>;

  constructor(overrides: Partial<Handlers<typeof Agent>> = {}) {
    this.overrides = overrides;
    this.peer = agentPeer((agent) => this.#logged({ ...this.#handlers(agent), ...overrides }));
  }

  #logged(handlers: Partial<Handlers<typeof Agent>>): Partial<Handlers<typeof Agent>> {
    const entries = Object.entries(handlers) as [string, (...args: unknown[]) => unknown][];
    return Object.fromEntries(
      entries.map(([name, handler]) => [
        name,
        async (...args: unknown[]) => {
          this.calls.push(name);
          const answer = await handler(...args);
          if (this.lost.delete(name)) throw new TskataError(Code.DeadlineExceeded, `${name}: no answer`);
          return answer;
        },
      ]),
    ) as Partial<Handlers<typeof Agent>>;
  }

  find(containerId: string, execId = ''): FakeProcess {
    const container = this.containers.get(containerId);
    const process = execId === '' ? container?.init : container?.execs.get(execId);
    if (process === undefined) throw new TskataError(Code.NotFound, `no process ${containerId}/${execId}`);
    return process;
  }

  #run(process: FakeProcess): void {
    const { args } = process.process;
    const name = args[0] ?? '';
    const program = Object.hasOwn(PROGRAMS, name) ? PROGRAMS[name] : undefined;
    if (program === undefined) {
      throw new TskataError(Code.InvalidArgument, `exec: "${name}": executable file not found in $PATH`);
    }
    process.phase = 'running';
    void program(process, args);
  }

  #handlers(agent: () => AgentServer): Partial<Handlers<typeof Agent>> {
    return {
      createSandbox: () => ({}),
      destroySandbox: () => ({}),
      createContainer: (request) => {
        const { containerId } = request;
        if (this.containers.has(containerId))
          throw new TskataError(Code.AlreadyExists, `${containerId} is there already`);
        const init = new FakeProcess(request.spec?.process as Process, request.streams, agent());
        this.containers.set(request.containerId, { request, init, execs: new Map() });
        return { guestPid: 2 };
      },
      startContainer: ({ containerId }) => {
        this.#run(this.find(containerId));
        return {};
      },
      deleteContainer: ({ containerId }) => {
        const init = this.find(containerId);
        if (init.phase === 'running') throw new TskataError(Code.FailedPrecondition, `${containerId} is running`);
        init.exit(137);
        this.containers.delete(containerId);
        return {};
      },
      execProcess: ({ containerId, execId, process, streams }) => {
        this.find(containerId);
        const exec = new FakeProcess(process as Process, streams, agent());
        this.#run(exec);
        this.containers.get(containerId)?.execs.set(execId, exec);
        return { guestPid: 3 };
      },
      deleteProcess: ({ containerId, execId }) => {
        this.containers.get(containerId)?.execs.delete(execId);
        return {};
      },
      signalProcess: ({ containerId, execId, signal }) => {
        const process = this.find(containerId, execId);
        process.signals.push(signal);
        process.onSignal(signal);
        return {};
      },
      waitProcess: async ({ containerId, execId }) => {
        const process = this.find(containerId, execId);
        const exit = await process.exited.promise;
        const { stdoutBytes, stderrBytes } = process;
        return { exitStatus: exit.status, oomKilled: exit.oomKilled ?? false, stdoutBytes, stderrBytes };
      },
      resizeTerminal: () => ({}),
      pauseContainer: () => ({}),
      resumeContainer: () => ({}),
      updateContainer: () => ({}),
      statsContainer: () => ({
        cpu: { usageUsec: 2n ** 53n + 1n },
        memory: {
          usage: 4096n,
          stat: new Map([
            ['anon', 17n],
            ['events.oom_kill', 3n],
          ]),
        },
        pidsCurrent: 5n,
        interfaces: [{ name: 'eth0', rxBytes: 11n, txBytes: 12n }],
      }),
      nextEvents: (_request, { signal }) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => resolve({ events: [] }));
        }),
      dial: () => ({}),
    };
  }
}

/** A machine with a fake guest in it. */
export class FakeVm implements Vm {
  readonly config: VmConfig;
  readonly guest: FakeGuest;
  readonly control: Vm['control'];
  readonly bytes: Vm['bytes'];
  readonly accelerator = 'tcg';
  readonly qemuPid = process.pid;
  readonly attachedDisks: DiskConfig[] = [];
  readonly attachedShares: ShareConfig[] = [];
  /** Hardware addresses. */
  readonly nics: Set<string>;
  /** The guest does not let go of disks. */
  holdsDisks = false;
  stops = 0;
  readonly #slots: Set<number>;
  readonly #end = Promise.withResolvers<VmEnd>();

  constructor(config: VmConfig, guest: FakeGuest) {
    this.config = config;
    this.guest = guest;
    this.#slots = new Set(config.disks.map(({ slot }) => slot));
    this.nics = new Set(config.nics.map(({ mac }) => mac));
    this.control = guest.peer.control.connect();
    this.bytes = guest.peer.bytes.connect();
  }

  get ended(): Promise<VmEnd> {
    return this.#end.promise;
  }

  /** Ends as if something had happened to it. */
  end(cause: VmEnd['cause'], consoleTail: readonly string[] = []): void {
    this.guest.peer.control.cut(0, 0, true);
    this.guest.peer.bytes.cut(0, 0, true);
    this.#end.resolve({ cause, message: `the fake machine was ${cause}`, consoleTail, stderrTail: [] });
  }

  diskPath(slot: number): string {
    return `${(slot + 5).toString(16).padStart(2, '0')}.0/00.0`;
  }
  attachDisk(disk: DiskConfig): Promise<void> {
    this.attachedDisks.push(disk);
    this.#slots.add(disk.slot);
    return Promise.resolve();
  }
  detachDisk(slot: number): Promise<void> {
    if (this.holdsDisks) return Promise.reject(new Error('the guest did not let go of it'));
    this.#slots.delete(slot);
    return Promise.resolve();
  }
  hasDisk(slot: number): boolean {
    return this.#slots.has(slot);
  }
  attachShare(share: ShareConfig): Promise<void> {
    this.attachedShares.push(share);
    return Promise.resolve();
  }
  attachNic({ mac }: NicConfig): Promise<void> {
    this.nics.add(mac);
    return Promise.resolve();
  }
  detachNic(mac: string): Promise<void> {
    this.nics.delete(mac);
    return Promise.resolve();
  }
  pause(): Promise<void> {
    return Promise.resolve();
  }
  resume(): Promise<void> {
    return Promise.resolve();
  }
  save(): Promise<void> {
    return Promise.reject(new Error('not in tests'));
  }
  stop(): Promise<void> {
    this.stops++;
    this.end('asked');
    return Promise.resolve();
  }
}

/** Makes fake machines and remembers them. */
export class FakeVmFactory implements VmFactory {
  readonly machines: FakeVm[] = [];
  /** Makes the guest of the next machine. */
  makeGuest: () => FakeGuest = () => new FakeGuest();
  /** Thrown instead of the next boots. */
  failure: Error | undefined;
  /** Awaited before a boot succeeds. */
  gate: Promise<void> = Promise.resolve();

  get last(): FakeVm {
    const vm = this.machines.at(-1);
    if (vm === undefined) throw new Error('no machine was started');
    return vm;
  }

  async start(config: VmConfig): Promise<Vm> {
    await this.gate;
    if (this.failure !== undefined) throw this.failure;
    const vm = new FakeVm(config, this.makeGuest());
    this.machines.push(vm);
    return vm;
  }

  restore(): Promise<Vm> {
    return Promise.reject(new Error('not in tests'));
  }
}
