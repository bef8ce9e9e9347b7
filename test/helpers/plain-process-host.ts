/**
 * A process host without a jail, made of Node's own spawn: for tests of QEMU's life that need no confinement. It cannot
 * pass descriptors to a running QEMU; hotplug is tested with the native helper.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { constants } from 'node:os';
import type { Duplex } from 'node:stream';
import type { Child, ChildDescriptor, ChildSpec, InheritedName, ProcessHost } from '../../runtime/vm/process-host.ts';

/** A host whose children die with `close`. */
export function plainProcessHost(): ProcessHost {
  const children: ChildProcess[] = [];
  const sockets = new Map<string, Duplex>();
  return {
    uid: 0,
    ended: new Promise(() => {}),
    socket: (name: InheritedName) => {
      const found = sockets.get(name);
      if (found === undefined) throw new Error(`no child has inherited ${name}`);
      return found;
    },
    spawn: (spec) => start(spec, children, sockets),
    addDescriptor: () => Promise.reject(new Error('the plain process host passes no descriptors')),
    addTap: () => Promise.reject(new Error('the plain process host passes no descriptors')),
    copySparse: (source, target) => copyFile(source, target),
    claimVsock: () => Promise.reject(new Error('the plain process host has no vsock')),
    relayVsock: () => Promise.reject(new Error('the plain process host has no vsock')),
    close: async () => {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        const ended = once(child, 'exit');
        child.kill('SIGKILL');
        await ended;
      }
    },
  };
}

async function start(spec: ChildSpec, children: ChildProcess[], sockets: Map<string, Duplex>): Promise<Child> {
  const opened: number[] = [];
  const extra = spec.descriptors.map((descriptor) => stdioOf(descriptor, opened));
  const args = spec.args.map((arg) => toHostPaths(arg, spec));
  const child = spawn(spec.executable, args, { stdio: ['ignore', 'pipe', 'pipe', ...extra] });
  for (const fd of opened) closeSync(fd);
  children.push(child);
  const exited = once(child, 'exit').then(([code, signal]) => statusOf(code, signal));
  await once(child, 'spawn');
  spec.descriptors.forEach((descriptor, index) => {
    if (descriptor.kind === 'inherited') sockets.set(descriptor.name, child.stdio[3 + index] as Duplex);
  });
  sockets.set('stderr', child.stderr as unknown as Duplex);
  const { pid } = child;
  if (pid === undefined) throw new Error(`${spec.executable} did not start`);
  return {
    pid,
    exited,
    signal: (signal) => {
      child.kill(signal);
      return Promise.resolve();
    },
  };
}

function stdioOf(descriptor: ChildDescriptor, opened: number[]): 'pipe' | number {
  if (descriptor.kind !== 'file') return 'pipe';
  const fd = openSync(descriptor.path, descriptor.writable ? 'r+' : 'r');
  opened.push(fd);
  return fd;
}

/** Without a root of its own the child needs the host's paths. */
function toHostPaths(arg: string, spec: ChildSpec): string {
  let result = arg;
  for (const { source, target } of spec.jail.binds) {
    if (source !== target) result = result.replaceAll(target, source);
  }
  return result;
}

function statusOf(code: unknown, signal: unknown): number {
  if (typeof code === 'number') return code;
  return 128 + constants.signals[signal as NodeJS.Signals];
}
