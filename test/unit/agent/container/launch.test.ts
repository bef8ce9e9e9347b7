import { beforeEach, describe, expect, test } from 'vitest';
import { Launch, runPlan, StepError } from '../../../../agent/container/launch.ts';
import { Supervisor } from '../../../../agent/supervisor.ts';
import { E } from '../../../../agent/sys/errno.ts';
import type { SpawnPlan } from '../../../../agent/sys/plan.ts';
import { RecorderSys } from '../../../../agent/sys/recorder.ts';
import { ManualLoop } from '../../../helpers/manual-loop.ts';

const STATUS_FD = 50;
const SIGNAL_FD = 60;
const PID = 1000;
let sys: RecorderSys;
let loop: ManualLoop;
let supervisor: Supervisor;
let packets: Uint8Array[];
let ended: { pid: number; code: number; status: number }[];

const execPlan: SpawnPlan = {
  cloneFlags: 0,
  slots: {},
  steps: [
    { op: 'call', nr: 0, args: [], label: 'first' },
    { op: 'sync', name: 'ask', label: 'ask' },
    { op: 'sync', name: 'hold', label: 'hold' },
    { op: 'exec', path: 'x', argv: ['x'], env: [], searchPath: [], label: 'exec' },
  ],
};
const filePlan: SpawnPlan = { cloneFlags: 0, slots: {}, steps: [{ op: 'exit', status: 0, label: 'do the work' }] };

beforeEach(() => {
  sys = new RecorderSys();
  loop = new ManualLoop();
  packets = [];
  ended = [];
  sys.answerAlways('signalfd4', SIGNAL_FD);
  sys.onSpawn = () => ({ pid: PID, pidfd: 40, statusFd: STATUS_FD });
  sys.onRead = (fd, buffer) => {
    if (fd !== STATUS_FD) return -E.EAGAIN;
    const packet = packets.shift();
    if (packet === undefined) return -E.EAGAIN;
    buffer.set(packet);
    return packet.length;
  };
  sys.answerAlways('waitid', (args) => {
    const next = ended.shift();
    if (next === undefined) return -E.ECHILD;
    const view = new DataView((args[2] as Uint8Array).buffer);
    view.setInt32(8, next.code, true);
    view.setInt32(16, next.pid, true);
    view.setInt32(24, next.status, true);
    return 0;
  });
  supervisor = new Supervisor(sys, loop);
});

function packet(kind: number, step: number, errno: number, fd = -1): void {
  const bytes = new Uint8Array(16);
  [kind, step, errno, fd].forEach((value, index) => {
    new DataView(bytes.buffer).setInt32(index * 4, value, true);
  });
  packets.push(bytes);
}

function tell(): void {
  loop.fire(STATUS_FD);
}

function end(code: number, status: number, pid = PID): void {
  ended.push({ pid, code, status });
  loop.fire(SIGNAL_FD);
  loop.advance(0);
}

const endOfFile = (): void => {
  packets.push(new Uint8Array(0));
};
const tools = () => ({ sys, loop, supervisor });
const released = (): number => sys.calls.filter(({ name, args }) => name === 'write' && args[0] === STATUS_FD).length;

describe('a child with an exec', () => {
  test('is answered at its syncs, held at the last, and done at its exec', async () => {
    const asked: number[] = [];
    const launch = new Launch(tools(), execPlan, new Map([['ask', (_child, fd) => void asked.push(fd)]]), 'hold');
    packet(1, 1, 0, 33);
    packet(1, 2, 0);
    tell();
    await launch.held;
    expect(asked).toEqual([33]);
    expect(released()).toBe(1);
    launch.release();
    launch.release();
    expect(released()).toBe(2);
    endOfFile();
    tell();
    await launch.done;
    expect(loop.watches.has(STATUS_FD)).toBe(false);
  });

  test('names the step that failed', async () => {
    const launch = new Launch(tools(), execPlan, new Map(), 'hold');
    packet(2, 0, E.EACCES);
    tell();
    await expect(launch.held).rejects.toThrow('first: EACCES');
    await expect(launch.done).rejects.toBeInstanceOf(StepError);
  });

  test('that dies before the hold has failed', async () => {
    const launch = new Launch(tools(), execPlan, new Map(), 'hold');
    endOfFile();
    tell();
    end(2, 9);
    await expect(launch.held).rejects.toThrow('killed by signal 9');
  });

  test('is killed when a handler fails', async () => {
    const fail = () => {
      throw new Error('no map');
    };
    const launch = new Launch(tools(), execPlan, new Map([['ask', fail]]), 'hold');
    packet(1, 1, 0);
    tell();
    await expect(launch.held).rejects.toThrow('no map');
    expect(sys.calls.find(({ name }) => name === 'pidfd_send_signal')?.args.slice(0, 2)).toEqual([40, 9]);
  });
});

describe('a child without an exec', () => {
  test('is done when it ends well', async () => {
    const running = runPlan(tools(), filePlan, 1000);
    endOfFile();
    tell();
    end(1, 0);
    await running;
    expect(loop.timerCount).toBe(0);
    expect(sys.calls.some(({ name, args }) => name === 'close' && args[0] === 40)).toBe(true);
  });

  test('that does not answer is killed at the deadline', async () => {
    const running = runPlan(tools(), filePlan, 1000);
    loop.advance(1001);
    await expect(running).rejects.toThrow('do the work: no answer within 1 s');
  });

  test('that cannot be started says why', () => {
    sys.onSpawn = () => -E.EAGAIN;
    expect(() => new Launch(tools(), filePlan, new Map())).toThrow('start a process: EAGAIN');
  });
});

describe('the supervisor', () => {
  test('reaps orphans as well, and tells of each child once', () => {
    const child = supervisor.adopt({ pid: 5, pidfd: 6, statusFd: 7 });
    const seen: number[] = [];
    child.onEnd(({ status }) => seen.push(status));
    ended.push({ pid: 99, code: 1, status: 1 }, { pid: 5, code: 2, status: 15 });
    loop.fire(SIGNAL_FD);
    loop.advance(0);
    expect(seen).toEqual([143]);
    expect(child.signal(9)).toBe(-E.ESRCH);
    child.onEnd(({ signaled }) => seen.push(Number(signaled)));
    expect(seen).toEqual([143, 1]);
    expect(supervisor.count).toBe(0);
  });
});
