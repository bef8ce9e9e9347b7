/**
 * A shim in a process of its own whose "machine" is a pair of unix sockets that a test plays the guest on. Arguments:
 * directory. Sockets there: shim.sock (Task API), control.sock and bytes.sock (the guest's ports).
 */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { connectAgent } from '../../runtime/agent-client/agent-connection.ts';
import { nodeClock } from '../../runtime/host/clock.ts';
import { openFileLogger } from '../../runtime/host/log.ts';
import { socketChannel } from '../../runtime/host/socket-channel.ts';
import { noNetwork } from '../../runtime/sandbox/network.ts';
import { StateStore } from '../../runtime/state/store.ts';
import type { Vm, VmConfig, VmEnd } from '../../runtime/vm/vm.ts';
import type { Assign } from '../../shim/assign.ts';
import { Records } from '../../shim/records.ts';
import { Shim } from '../../shim/shim.ts';
import { noPublisher } from '../../shim/task/publisher.ts';

/** Instead of the time of a boot. */
const CONNECT_TIMEOUT_MS = 2_000;

const directory = process.argv[2] ?? '';
const assign: Assign = {
  namespace: 'test',
  id: 'sandbox',
  bundle: directory,
  socketPath: join(directory, 'shim.sock'),
  runRoot: join(directory, 'run'),
  libRoot: join(directory, 'lib'),
  containerdAddress: '',
  ttrpcAddress: '',
  publishBinary: '',
  debug: true,
};

async function start(_config: VmConfig): Promise<Vm> {
  const sockets = [connect(join(directory, 'control.sock')), connect(join(directory, 'bytes.sock'))] as const;
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  const end = Promise.withResolvers<VmEnd>();
  const refuse = (): Promise<never> => Promise.reject(new Error('not in this test'));
  return {
    control: socketChannel(sockets[0]),
    bytes: socketChannel(sockets[1]),
    ended: end.promise,
    accelerator: 'tcg',
    qemuPid: process.pid,
    diskPath: (slot) => `0${slot}.0/00.0`,
    attachDisk: refuse,
    detachDisk: refuse,
    attachShare: refuse,
    pause: refuse,
    resume: refuse,
    save: refuse,
    stop: () => {
      for (const socket of sockets) socket.destroy();
      end.resolve({ cause: 'asked', message: 'it was stopped', consoleTail: [], stderrTail: [] });
      return Promise.resolve();
    },
  };
}

const store = new StateStore(assign.runRoot);
const server = createServer();
const log = openFileLogger(join(store.prepare('test', 'sandbox'), 'shim.log'), { debug: true });
const shim = new Shim({
  assign,
  server,
  sandbox: {
    vmFactory: { start, restore: () => Promise.reject(new Error('not in this test')) },
    connectGuest: (control, bytes, clock, options) =>
      connectAgent(control, bytes, clock, { ...options, timeoutMs: CONNECT_TIMEOUT_MS }),
    hostMounts: { mount: () => Promise.resolve(), unmount: () => Promise.resolve() },
    networks: { open: () => Promise.resolve(noNetwork) },
  },
  sandboxConfig: {
    id: 'sandbox',
    shareRoot: join(directory, 'share'),
    kernel: '/kernel',
    initrd: '/initrd',
    profile: 'auto',
    debug: false,
  },
  publisher: noPublisher,
  records: new Records(assign, store, () => undefined),
  store,
  clock: nodeClock,
  log,
  release: () => Promise.resolve(),
});
server.listen(assign.socketPath, () => process.stdout.write('ready\n'));
await shim.ended;
process.exit(0);
