/**
 * Owns the putting together of a shim: the one place that knows QEMU, the keeper and the Task API at once. What it is
 * and whom it serves comes over descriptor 4; the listening socket is descriptor 3.
 */
import { createServer } from 'node:net';
import { join } from 'node:path';
import { connectAgent } from '../../runtime/agent-client/agent-connection.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { type FileLogger, openFileLogger } from '../../runtime/host/log.ts';
import { probeHost } from '../../runtime/qemu/probe.ts';
import { createQemuFactory } from '../../runtime/qemu/qemu.ts';
import { noHostGroup } from '../../runtime/sandbox/host-group.ts';
import { StateStore } from '../../runtime/state/store.ts';
import { type Assign, readAssign } from '../assign.ts';
import { runHook } from '../hooks.ts';
import { createHostGroup } from '../host-group.ts';
import { SandboxKeeper } from '../keeper.ts';
import { createNetworks } from '../networks.ts';
import { Records } from '../records.ts';
import { readSettings, type Settings } from '../settings.ts';
import { Shim } from '../shim.ts';
import { noPublisher, TtrpcPublisher } from '../task/publisher.ts';

const LISTENER_FD = 3;
const ASSIGN_FD = 4;
/** Programs and guest files lie beside this bundle. */
const LIB = import.meta.dirname;

/** Serves until the sandbox has ended, then ends the process. */
export async function serve(): Promise<void> {
  // A closed terminal and a reader that went away are no reason to end a sandbox.
  process.on('SIGHUP', () => undefined);
  process.on('SIGPIPE', () => undefined);
  const assign = await readAssign(ASSIGN_FD);
  const store = new StateStore(assign.runRoot);
  const directory = store.prepare(assign.namespace, assign.id);
  const settings = await readSettings(assign);
  const debug = assign.debug || settings.config.log.level === 'debug';
  const log = openFileLogger(join(directory, 'shim.log'), { debug });
  const shim = createShim({ assign, settings, debug, store, directory, log });
  process.on('SIGTERM', () => void shim.shutdown('SIGTERM'));
  process.on('SIGINT', () => void shim.shutdown('SIGINT'));
  process.on('uncaughtException', (error) => {
    // A mistake of ours: nothing can be promised any more but that nothing is left behind.
    log.error('uncaught exception', { error: error.stack ?? String(error) });
    void shim.shutdown('uncaught exception');
  });
  log.info('serving', { namespace: assign.namespace, id: assign.id, pid: process.pid });
  await shim.ended;
  log.info('ended');
  log.close();
  process.exit(0);
}

interface ShimInput {
  readonly assign: Assign;
  readonly settings: Settings;
  readonly debug: boolean;
  readonly store: StateStore;
  readonly directory: string;
  readonly log: FileLogger;
}

function createShim({ assign, settings, debug, store, directory, log }: ShimInput): Shim {
  const clock = nodeClock;
  const { config, annotations, sizes, group, refusal } = settings;
  const { machine, jail, network } = config;
  const keeper = new SandboxKeeper({
    helper: join(LIB, 'tskata-helper'),
    runRoot: assign.runRoot,
    users: { first: jail.first_uid, count: jail.uid_count },
    log,
  });
  const override = machine.accelerator === 'auto' ? {} : { override: machine.accelerator };
  const vmFactory = createQemuFactory({
    configDirectory: join(LIB, 'qemu-configs'),
    stateDirectory: directory,
    // Beside the shim's own socket, since ids and namespaces can be longer than a socket's path.
    socketDirectory: assign.socketPath.replace(/(\.sock)?$/, '.d'),
    facts: () => probeHost({ runRoot: assign.runRoot, ...override }),
    processHost: () => keeper.processHost(),
    clock,
  });
  const server = createServer();
  server.listen({ fd: LISTENER_FD });
  return new Shim({
    assign,
    server,
    sandbox: {
      vmFactory,
      connectGuest: connectAgent,
      hostMounts: keeper.mounts,
      startStandIn: keeper.startStandIn,
      runHook,
      hostGroup: group.enabled ? createHostGroup(keeper, log) : noHostGroup,
      networks: createNetworks(keeper, {
        helper: join(LIB, 'tskata-helper'),
        program: join(LIB, 'tskata-usernet'),
        cacheDirectory: join(assign.runRoot, 'cache'),
        allowedDestinations: network.allowed_destinations,
        log,
      }),
    },
    sandboxConfig: {
      id: assign.id,
      shareRoot: join(directory, 'share'),
      kernel: machine.kernel ?? join(LIB, 'guest/vmlinux'),
      initrd: machine.initrd ?? join(LIB, 'guest/initrd.img'),
      profile: machine.profile,
      debug,
      annotations,
      sizes,
      namespace: assign.namespace,
      group,
    },
    publisher:
      assign.ttrpcAddress === ''
        ? noPublisher
        : new TtrpcPublisher(assign.ttrpcAddress, assign.namespace, { clock, log }),
    records: new Records(assign, store, () => keeper.pid),
    store,
    clock,
    log,
    ...(refusal === undefined ? {} : { refusal }),
    release: () => keeper.close(),
  });
}
