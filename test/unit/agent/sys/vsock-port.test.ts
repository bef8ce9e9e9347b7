/** The agent's port over vsock: whom it lets in, what it says first, and that a new connection takes the place of the old. */
import { beforeEach, describe, expect, it } from 'vitest';
import { RecorderSys } from '../../../../agent/sys/recorder.ts';
import { type SocketAddress, sockaddr } from '../../../../agent/sys/structs.ts';
import type { SysArg } from '../../../../agent/sys/sys.ts';
import { VsockPort } from '../../../../agent/sys/vsock-port.ts';
import { ManualLoop } from '../../../helpers/manual-loop.ts';

const LISTENER = 10;
const EAGAIN = -11;
const IN = 1;
const HOST_ROOT: SocketAddress = { family: 'vsock', cid: 2, port: 600 };

let sys: RecorderSys;
let loop: ManualLoop;
let port: VsockPort;
let written: [number, ...number[]][];
let received: number[];

/** accept4 that gives a connection from there. */
function connection(fd: number, peer: SocketAddress): (args: readonly SysArg[]) => number {
  return ([, address]) => {
    (address as Uint8Array).set(sockaddr(peer));
    return fd;
  };
}

/** Connections wait at the listener. */
function arrive(...connections: (readonly [fd: number, peer: SocketAddress])[]): void {
  sys.answer('accept4', ...connections.map(([fd, peer]) => connection(fd, peer)), EAGAIN);
  loop.watches.get(LISTENER)?.ready(IN);
}

/** Bytes wait on a connection; none: its end. */
function deliver(fd: number, ...bytes: number[]): void {
  const reads = [Uint8Array.from(bytes)];
  sys.onRead = (_, buffer, offset) => {
    const next = reads.shift();
    buffer.set(next ?? [], offset);
    return next?.length ?? EAGAIN;
  };
  loop.watches.get(fd)?.ready(IN);
}

beforeEach(() => {
  sys = new RecorderSys();
  loop = new ManualLoop();
  written = [];
  received = [];
  sys.answer('socket', LISTENER);
  sys.onWrite = (fd, bytes) => {
    written.push([fd, ...bytes]);
    return bytes.length;
  };
  port = new VsockPort(sys, loop, 1024, 'control port');
  port.onData = (bytes) => received.push(...bytes);
  port.onEnd = () => expect.unreachable('a port does not end');
});

describe('a port over vsock', () => {
  it('greets the root of the host, and carries bytes both ways', () => {
    arrive([20, HOST_ROOT]);
    expect(written).toEqual([[20, 0]]);
    deliver(20, 1, 2, 3);
    expect(received).toEqual([1, 2, 3]);
    expect(port.write(Uint8Array.of(7))).toBe(true);
    expect(written.at(-1)).toEqual([20, 7]);
  });

  it.each<[string, SocketAddress]>([
    ['another user of the host', { family: 'vsock', cid: 2, port: 1024 }],
    ['a program of this guest', { family: 'vsock', cid: 77, port: 600 }],
    ['something else', { family: 'unix', path: '/x' }],
  ])('turns away %s without a word', (_, peer) => {
    arrive([20, HOST_ROOT], [21, peer]);
    expect(written).toEqual([[20, 0]]);
    expect(sys.calls.filter(({ name, args }) => name === 'close' && args[0] === 21)).toHaveLength(1);
    expect(loop.watches.has(20)).toBe(true);
  });

  it('has one connection: a new one takes the place of the old', () => {
    arrive([20, HOST_ROOT]);
    arrive([21, HOST_ROOT]);
    expect(loop.watches.has(20)).toBe(false);
    port.write(Uint8Array.of(7));
    expect(written.at(-1)).toEqual([21, 7]);
  });

  it('lives on when its connection ends; what is written meanwhile is lost', () => {
    arrive([20, HOST_ROOT]);
    deliver(20);
    expect(loop.watches.has(20)).toBe(false);
    expect(port.write(Uint8Array.of(7))).toBe(true);
    arrive([21, HOST_ROOT]);
    expect(written).toEqual([
      [20, 0],
      [21, 0],
    ]);
  });

  it('lets a writer go on that waited for a connection which has ended', () => {
    let drained = 0;
    port.onDrain = () => {
      drained += 1;
    };
    arrive([20, HOST_ROOT]);
    sys.onWrite = () => EAGAIN;
    expect(port.write(new Uint8Array(512 * 1024))).toBe(false);
    deliver(20);
    expect(drained).toBe(1);
  });

  it('hands nothing on while its user does not read', () => {
    port.setReading(false);
    arrive([20, HOST_ROOT]);
    expect((loop.watches.get(20)?.events ?? 0) & IN).toBe(0);
    port.setReading(true);
    expect((loop.watches.get(20)?.events ?? 0) & IN).toBe(IN);
  });
});
