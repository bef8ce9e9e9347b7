/**
 * Brings one machine up: sockets and files, the process host, the daemons of its shares, QEMU, the monitor. Every
 * acquisition registers its undo at once; a failure at any step undoes them all. It does not wait for the guest.
 */
import { randomBytes } from 'node:crypto';
import { access, chown, mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import type { Clock } from '../../agent/protocol/channel.ts';
import { socketChannel } from '../host/socket-channel.ts';
import type { Child, ProcessHost, ProcessHostFactory } from '../vm/process-host.ts';
import type { VmConfig } from '../vm/vm.ts';
import { type AgentTransport, prepareTransport } from './agent-transport.ts';
import { composeCommandLine, layoutOf } from './cmdline.ts';
import { follow, LineTail } from './console.ts';
import { Ending } from './ending.ts';
import { MachineEnded } from './failure.ts';
import type { HostFacts } from './host-facts.ts';
import { identityOf } from './identity.ts';
import { Machine } from './machine-handle.ts';
import type { MachineProfile } from './profile.ts';
import { qemuSpec } from './qemu-jail.ts';
import { openQmp, type QmpClient } from './qmp/client.ts';
import { MEMORY_FILE, STATE_FILE } from './saved.ts';
import { Undo } from './undo.ts';
import { ShareDaemons } from './virtiofsd.ts';

/** QEMU's own start, until its monitor greets: 40 ms on an idle machine, many seconds on an emulated host that is busy. */
const MONITOR_TIMEOUT_MS = 60_000;
/** Silence after QEMU's end that means that its last words have been read. */
const QUIET_MS = 20;
/** Between the end of a share's daemon and that of the QEMU that it served, when that one was the first. */
const SHARE_END_MS = 200;
/** Where the memory of a restored machine goes: it must be a tmpfs, or each page would be written to a disk. */
const MEMORY_DIRECTORY = '/dev/shm';
const KILL = 9;

/** What a machine is made from. */
export interface LaunchInput {
  readonly config: VmConfig;
  readonly profile: MachineProfile;
  readonly facts: HostFacts;
  readonly hostDevices: ReadonlySet<string>;
  /** The machine's taps get vhost. */
  readonly vhostNet: boolean;
  /** Directory of this sandbox, for console.log. */
  readonly stateDirectory: string;
  /** Directory that is made for sockets; its path is short. */
  readonly socketDirectory: string;
  readonly processHost: ProcessHostFactory;
  readonly clock: Clock;
  /** Directory of a saved machine to continue. */
  readonly restoreFrom?: string;
}

/** A machine whose QEMU answers. */
export interface Launched {
  readonly machine: Machine;
  readonly qmp: QmpClient;
  /** QEMU's number of the saved device state. */
  readonly deviceStateFd: number | undefined;
  readonly transport: AgentTransport;
}

/** Starts QEMU and opens its monitor. @throws TskataError after everything has been undone. */
export async function launch(input: LaunchInput): Promise<Launched> {
  const undo = new Undo();
  try {
    return await launchWith(input, undo);
  } catch (error) {
    await undo.run();
    throw error;
  }
}

async function launchWith(input: LaunchInput, undo: Undo): Promise<Launched> {
  const { config, facts, profile, clock } = input;
  const { socketDirectory } = input;
  await mkdir(socketDirectory, { recursive: true, mode: 0o711 });
  undo.add(() => rm(socketDirectory, { recursive: true, force: true }));
  const consoleTail = new LineTail(path.join(input.stateDirectory, 'console.log'));
  undo.add(() => consoleTail.close());
  const host = await input.processHost();
  undo.add(() => host.close());
  const shares = new ShareDaemons(host, facts.virtiofsd, socketDirectory);
  for (const [index, share] of config.shares.entries()) await shares.start(index, share);
  const transport = await prepareTransport(profile, host);
  const memoryFile = await prepareMemory(input.restoreFrom, host, undo);
  const line = composeCommandLine({
    profile,
    config,
    hostTscKhz: facts.tscKhz,
    hostDevices: input.hostDevices,
    vhostNet: input.vhostNet,
    ...(transport.vsockCid === undefined ? {} : { vsockCid: transport.vsockCid }),
    ...(input.restoreFrom === undefined
      ? {}
      : { restoreFrom: { deviceState: path.join(input.restoreFrom, STATE_FILE) } }),
  });
  const qemu = await host.spawn(
    qemuSpec(facts.qemu, line, { config, socketDirectory, memoryFile, accelerator: profile.accelerator }),
  );
  const ending = watchEnd(qemu, host, consoleTail, clock);
  shares.onEnd = (message) => endWithoutShare(message, qemu, ending, clock);
  const qmp = await openMonitor(qemu, host, ending, clock);
  // QEMU has opened the file: nothing needs its name any more, and a crash cannot leave it behind.
  if (memoryFile !== undefined) await rm(memoryFile, { force: true });
  const machine = new Machine({
    config,
    layout: layoutOf(profile),
    accelerator: profile.accelerator,
    qemu,
    qmp,
    control: socketChannel(host.socket('control')),
    bytes: socketChannel(host.socket('bytes')),
    ending,
    host,
    shares,
    hostDevices: input.hostDevices,
    vhostNet: input.vhostNet,
    clock,
    socketDirectory,
    identity: () => identityOf(profile, config, facts),
    release: () => undo.run(),
  });
  return { machine, qmp, deviceStateFd: line.deviceStateFd, transport };
}

/** A private copy: a machine that was taken over must not reach what others will be restored from. */
async function prepareMemory(saved: string | undefined, host: ProcessHost, undo: Undo): Promise<string | undefined> {
  if (saved === undefined) return undefined;
  const file = path.join(MEMORY_DIRECTORY, `tskata-memory-${process.pid}-${randomBytes(8).toString('hex')}`);
  await access(MEMORY_DIRECTORY);
  undo.add(() => rm(file, { force: true }));
  await host.copySparse(path.join(saved, MEMORY_FILE), file);
  await chown(file, host.uid, host.uid);
  return file;
}

/** Reads the console and standard error, and settles the ending once QEMU is gone and its last words are read. */
function watchEnd(qemu: Child, host: ProcessHost, consoleTail: LineTail, clock: Clock): Ending {
  const stderrTail = new LineTail();
  const streams = [host.socket('console'), host.socket('stderr')] as const;
  follow(streams[0], consoleTail);
  follow(streams[1], stderrTail);
  const ending = new Ending(consoleTail, stderrTail);
  void qemu.exited.then(async (status) => {
    await Promise.all(streams.map((stream) => quiet(stream, clock)));
    ending.exited(status);
  });
  return ending;
}

/**
 * A guest whose share is gone waits for its answers for ever, and cannot even be asked to end: the machine ends. The end
 * of QEMU ends the daemons too, which may be seen first.
 */
function endWithoutShare(message: string, qemu: Child, ending: Ending, clock: Clock): void {
  const cancel = clock.timer(SHARE_END_MS, () => {
    ending.note('failed', message);
    void qemu.signal(KILL);
  });
  void qemu.exited.then(cancel);
}

/** The other end of the sockets may stay open in the process host, so that their end is no sign; silence is. */
function quiet(stream: Readable, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed || stream.readableEnded) return resolve();
    let cancel = clock.timer(QUIET_MS, done);
    const restart = () => {
      cancel();
      cancel = clock.timer(QUIET_MS, done);
    };
    // A stream that talks on does so from a dead process's buffer, which is small.
    stream.on('data', restart);
    stream.once('close', done);
    function done() {
      cancel();
      stream.off('data', restart);
      stream.off('close', done);
      resolve();
    }
  });
}

async function openMonitor(qemu: Child, host: ProcessHost, ending: Ending, clock: Clock): Promise<QmpClient> {
  try {
    return await openQmp(socketChannel(host.socket('qmp')), clock, MONITOR_TIMEOUT_MS);
  } catch (error) {
    // A QEMU that dies closes its monitor before its process has ended; its status and words say more.
    const cancel = clock.timer(QUIET_MS * 10, () => {
      ending.note('failed', `QEMU's monitor did not open: ${error instanceof Error ? error.message : String(error)}`);
      void qemu.signal(KILL);
    });
    const end = await ending.ended;
    cancel();
    throw new MachineEnded('start QEMU', end);
  }
}
