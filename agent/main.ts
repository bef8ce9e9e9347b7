/**
 * The agent: PID 1 of the guest. This file only puts the parts together in the order of the boot; when it ends, for
 * whatever reason, the kernel panics, and the host learns it.
 */
import { consoleLog, type Log } from './boot/log.ts';
import { limitReserve } from './boot/memory.ts';
import { makeCgroups, makeMounts } from './boot/mounts.ts';
import { openHostChannels } from './boot/ports.ts';
import { Uevents } from './boot/uevents.ts';
import { Sandbox } from './container/sandbox.ts';
import type { ByteStream } from './io/process-io.ts';
import { bringUpLoopback } from './network/configure.ts';
import { Agent } from './protocol/generated/agent.ts';
import { serveAgent } from './protocol/serve.ts';
import { bind } from './protocol/service.ts';
import { containerHandlers } from './service/container.ts';
import type { ServiceContext } from './service/context.ts';
import { dialHandlers } from './service/dial.ts';
import { withStatus } from './service/errors.ts';
import { sandboxHandlers } from './service/sandbox.ts';
import { copyTree } from './storage/copy-tree.ts';
import { COPY_UP_FROM, COPY_UP_MODE, COPY_UP_TO } from './storage/copy-up.ts';
import { Storages } from './storage/storages.ts';
import { Supervisor } from './supervisor.ts';
import { open, writeFile } from './sys/calls.ts';
import { CLOCK, O, RB } from './sys/linux.ts';
import { engine, loop, sys } from './sys/native.ts';
import { clockNs, raiseDescriptorLimit, reboot } from './sys/processes.ts';
import { SYS } from './sys/syscalls.ts';

/** The engine's heap: requests of 1 MiB, plans and windows of streams fit many times. */
const MEMORY_LIMIT_BYTES = 64 * 1024 * 1024;
const MAX_DESCRIPTORS = 1024 * 1024;

/** The agent is the last process that the kernel may kill for memory. */
const OOM_SCORE_ADJ = '-1000';

async function serve(log: Log): Promise<void> {
  const uevents = new Uevents(sys, loop);
  const supervisor = new Supervisor(sys, loop);
  const tools = { sys, loop, supervisor };
  let accept: (id: number) => ByteStream = () => {
    throw new Error('no bytes port yet');
  };
  const storages = new Storages(tools, uevents);
  const sandbox = new Sandbox(tools, storages, (id) => accept(id));
  const [control, bytes] = await openHostChannels(sys, loop, uevents);
  const start = { readyNs: 0n, readyCpuNs: 0n, firstAnswerCpuNs: 0n };
  const context: ServiceContext = {
    tools,
    uevents,
    sandbox,
    accept: (id) => accept(id),
    log,
    startedNs: engine.startedNs,
    start,
  };
  const handlers = withStatus({ ...sandboxHandlers(context), ...containerHandlers(context), ...dialHandlers(context) });
  const cpuNs = (): bigint => clockNs(sys, CLOCK.PROCESS_CPUTIME_ID) - engine.startedCpuNs;
  const onCall = (): void => {
    if (start.firstAnswerCpuNs === 0n) start.firstAnswerCpuNs = cpuNs();
  };
  const { mux } = serveAgent(control, bytes, loop, { bindings: [bind(Agent, handlers)], onCall });
  accept = (id) => mux.accept(id);
  start.readyNs = clockNs(sys, CLOCK.BOOTTIME);
  start.readyCpuNs = cpuNs();
  log('ready', { ms: Number(start.readyNs / 1_000_000n) });
}

/** The reason comes first on the console; the panic follows. */
function die(error: unknown): never {
  const text = error instanceof Error ? `${error.message}\n${error.stack ?? ''}` : String(error);
  engine.print(`tskata-agent: fatal: ${text.slice(0, 2048)}\n`);
  return sys.exit(1);
}

/** The other mode of this program: see `storage/copy-up.ts`. */
function copyUp(): void {
  // What was resolved in the container's root can be read through its descriptor only.
  const from = open(sys, `/proc/self/fd/${COPY_UP_FROM}`, O.RDONLY | O.DIRECTORY);
  copyTree(sys, from, COPY_UP_TO, sys.argv[2] === 'copy');
}

function main(): void {
  if (sys.argv[1] === COPY_UP_MODE) {
    copyUp();
    sys.exit(0);
  }
  engine.setMemoryLimit(MEMORY_LIMIT_BYTES);
  // Modes are what is asked for: of files of the host, of device nodes.
  sys.call(SYS.umask, 0);
  makeMounts(sys);
  const log = consoleLog(sys, loop);
  reboot(sys, RB.DISABLE_CAD);
  raiseDescriptorLimit(sys, MAX_DESCRIPTORS);
  writeFile(sys, '/proc/self/oom_score_adj', OOM_SCORE_ADJ);
  limitReserve(sys);
  makeCgroups(sys);
  bringUpLoopback(sys);
  serve(log).catch(die);
  // A callback that throws is a mistake of ours, but containers may still be well: it is said, and the agent goes on.
  loop.run((error) => {
    const { message, stack = '' } = error instanceof Error ? error : new Error(String(error));
    log('internal error', { message, stack });
  });
}

try {
  main();
} catch (error) {
  die(error);
}
