/**
 * Owns connections from the guest to an address in it. Sockets of the sandbox's network are made here, without
 * blocking; those that need a container's namespaces or file system come from a child, which hands them over.
 */

import type { Container } from '../container/container.ts';
import { type LaunchTools, runPlan, type SyncHandler } from '../container/launch.ts';
import { PlanBuilder } from '../container/plan/builder.ts';
import { Code, TskataError } from '../protocol/errors.ts';
import { invalid, quoted } from '../service/check.ts';
import { close, setNonBlocking } from '../sys/calls.ts';
import { E } from '../sys/errno.ts';
import { SysError } from '../sys/errors.ts';
import { parseIp } from '../sys/ip.ts';
import { AF, CLONE, EPOLL, SOCK } from '../sys/linux.ts';
import type { SpawnPlan } from '../sys/plan.ts';
import { pidfdGetfd } from '../sys/processes.ts';
import { connect, socket, socketError } from '../sys/sockets.ts';
import { type SocketAddress, sockaddr } from '../sys/structs.ts';
import { SYS } from '../sys/syscalls.ts';

const CONNECT_TIMEOUT_MS = 10_000;
const HAND_OVER = 'socket';

/** Where to connect to. */
export interface Target {
  readonly network: 'tcp' | 'udp' | 'unix';
  readonly address: SocketAddress;
  readonly text: string;
}

/** Reads "127.0.0.1:80", "[::1]:53" or "/path". Throws TskataError: invalid argument. */
export function parseTarget(network: string, text: string): Target {
  if (network === 'unix') {
    if (!text.startsWith('/') || text.length > 107 || text.includes('\0')) {
      throw invalid('address', `${quoted(text)} is not an absolute path of at most 107 bytes`);
    }
    return { network, address: { family: 'unix', path: text }, text };
  }
  if (network !== 'tcp' && network !== 'udp') throw invalid('network', `${quoted(network)} is not tcp, udp or unix`);
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})$/.exec(text);
  const ip = match === null ? undefined : parseIp(match[1] ?? match[2] ?? '');
  const port = Number(match?.[3] ?? '0');
  if (ip === undefined || port < 1 || port > 65_535) {
    throw invalid('address', `${quoted(text)} is not an address with port`);
  }
  const family = ip.length === 4 ? 'inet' : 'inet6';
  return { network, address: { family, address: ip, port }, text };
}

/** A connected, non-blocking socket. Rejects with the kernel's reason, or at the deadline. */
export async function dial(tools: LaunchTools, target: Target, container: Container | undefined): Promise<number> {
  if (target.network === 'unix') {
    return container === undefined
      ? dialUnixOfGuest()
      : socketFromChild(tools, planUnix(container, target.address), target);
  }
  const type = target.network === 'tcp' ? SOCK.STREAM : SOCK.DGRAM;
  const family = target.address.family === 'inet6' ? AF.INET6 : AF.INET;
  const fd =
    container?.hasNetwork === true
      ? await socketFromChild(tools, planSocket(container, family, type), target)
      : socket(tools.sys, family, type | SOCK.NONBLOCK);
  try {
    await connectSocket(tools, fd, target);
    return fd;
  } catch (error) {
    close(tools.sys, fd);
    throw error;
  }
}

/** There is nothing in the agent's own root to talk to. */
function dialUnixOfGuest(): never {
  throw invalid('container_id', 'a unix address needs the container in whose root it is');
}

async function connectSocket(tools: LaunchTools, fd: number, target: Target): Promise<void> {
  const { sys, loop } = tools;
  const failed = (errno: number): SysError => new SysError('dial', `${target.network} ${target.text}`, errno);
  const result = connect(sys, fd, target.address);
  if (result === 0) return;
  if (result !== -E.EINPROGRESS) throw failed(-result);
  await new Promise<void>((resolve, reject) => {
    const end = (settle: () => void): void => {
      loop.unwatch(fd);
      cancel();
      settle();
    };
    const cancel = loop.timer(CONNECT_TIMEOUT_MS, () => end(() => reject(failed(E.ETIMEDOUT))));
    loop.watch(fd, EPOLL.OUT, () => {
      end(() => {
        const errno = socketError(sys, fd);
        if (errno === 0) resolve();
        else reject(failed(errno));
      });
    });
  });
}

/** Connects inside the container's root: its symbolic links lead nowhere else. A full backlog blocks only the child. */
function planUnix(container: Container, address: SocketAddress): SpawnPlan {
  const plan = new PlanBuilder();
  const slot = plan.slot();
  const bytes = sockaddr(address);
  plan.call('make a socket', SYS.socket, [AF.UNIX, SOCK.STREAM | SOCK.CLOEXEC, 0], { result: slot });
  plan.call('connect', SYS.connect, [slot, bytes, bytes.length]);
  plan.sync(HAND_OVER, 'hand over the socket', slot);
  plan.steps.push({ op: 'exit', status: 0, label: 'end' });
  return inContainer(container, plan, CLONE.NEWNS | CLONE.NEWNET);
}

function planSocket(container: Container, family: number, type: number): SpawnPlan {
  const plan = new PlanBuilder();
  const slot = plan.slot();
  plan.call('make a socket', SYS.socket, [family, type | SOCK.CLOEXEC | SOCK.NONBLOCK, 0], { result: slot });
  plan.sync(HAND_OVER, 'hand over the socket', slot);
  plan.steps.push({ op: 'exit', status: 0, label: 'end' });
  return inContainer(container, plan, CLONE.NEWNET);
}

function inContainer(container: Container, plan: PlanBuilder, namespaces: number): SpawnPlan {
  const type = container.joinFlags & namespaces;
  const fd = container.init.child.pidfd;
  return {
    cloneFlags: 0,
    cgroupFd: container.cgroup.fd,
    ...(type === 0 ? {} : { enter: [{ fd, type }] }),
    slots: {},
    steps: plan.steps,
  };
}

async function socketFromChild(tools: LaunchTools, plan: SpawnPlan, target: Target): Promise<number> {
  let fd = -1;
  const take: SyncHandler = (child, number) => {
    fd = pidfdGetfd(tools.sys, child.pidfd, number);
    setNonBlocking(tools.sys, fd);
  };
  try {
    await runPlan(tools, plan, CONNECT_TIMEOUT_MS, new Map([[HAND_OVER, take]]));
  } catch (error) {
    if (fd >= 0) close(tools.sys, fd);
    if (error instanceof SysError) throw new SysError('dial', `${target.network} ${target.text}`, error.errno);
    throw error;
  }
  if (fd < 0) throw new TskataError(Code.Internal, `dial ${target.network} ${target.text}: the child gave no socket`);
  return fd;
}
