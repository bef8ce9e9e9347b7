/** The QMP session against a peer that speaks the real bytes. */
import { afterEach, describe, expect, it } from 'vitest';
import type { Channel } from '../../../../agent/protocol/channel.ts';
import { nodeClock } from '../../../../runtime/host/clock.ts';
import { openQmp, QmpCommandError, QmpSessionError } from '../../../../runtime/qemu/qmp/client.ts';
import { MAX_QMP_LINE_BYTES, QmpDecoder, QmpFormatError } from '../../../../runtime/qemu/qmp/decoder.ts';

const GREETING = { QMP: { version: { qemu: { major: 7, minor: 2, micro: 22 }, package: '' }, capabilities: ['oob'] } };
type Command = { execute: string; arguments: unknown; id: number };

/** A monitor: `answer` gives the lines for each command. */
class FakeMonitor implements Channel {
  onData: (bytes: Uint8Array) => void = () => {};
  onDrain = () => {};
  onEnd: (error?: Error) => void = () => {};
  readonly commands: Command[] = [];
  closed = false;
  answer: (command: Command) => unknown[] = ({ id }) => [{ return: {}, id }];

  write(bytes: Uint8Array): boolean {
    const command = JSON.parse(new TextDecoder().decode(bytes)) as Command;
    this.commands.push(command);
    for (const message of this.answer(command)) queueMicrotask(() => this.send(message));
    return true;
  }
  setReading(): void {
    queueMicrotask(() => this.send(GREETING));
  }
  close(): void {
    this.closed = true;
  }
  send(message: unknown): void {
    this.onData(new TextEncoder().encode(`${JSON.stringify(message)}\r\n`));
  }
}

let monitor = new FakeMonitor();
afterEach(() => {
  monitor = new FakeMonitor();
});

describe('a QMP session', () => {
  it('negotiates and learns the version', async () => {
    const client = await openQmp(monitor, nodeClock, 1000);
    expect(client.version).toBe('7.2.22');
    expect(monitor.commands[0]?.execute).toBe('qmp_capabilities');
  });

  it('matches answers that come in another order by their ids', async () => {
    const client = await openQmp(monitor, nodeClock, 1000);
    monitor.answer = () => [];
    const first = client.execute('one');
    const second = client.execute('two');
    const [, one, two] = monitor.commands;
    monitor.send({ return: 2, id: two?.id });
    monitor.send({ return: 1, id: one?.id });
    expect(await Promise.all([first, second])).toEqual([1, 2]);
  });

  it('tells a refused command from a broken session', async () => {
    const client = await openQmp(monitor, nodeClock, 1000);
    monitor.answer = ({ id }) => [{ error: { class: 'DeviceNotFound', desc: 'no disk9' }, id }];
    const error = await client.execute('device_del', { id: 'disk9' }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(QmpCommandError);
    expect(error).toMatchObject({ errorClass: 'DeviceNotFound', message: 'QMP device_del: no disk9' });
    monitor.answer = ({ id }) => [{ return: {}, id }];
    await client.execute('cont');
  });

  it('passes events on, and takes hostile keys as data', async () => {
    const client = await openQmp(monitor, nodeClock, 1000);
    const seen: [string, unknown][] = [];
    client.onEvent = (name, data) => seen.push([name, data]);
    monitor.send({ event: 'SHUTDOWN', data: { guest: true }, timestamp: {} });
    monitor.onData(new TextEncoder().encode('{"event":"X","data":{"__proto__":{"polluted":1}}}\n'));
    expect(seen.map(([name]) => name)).toEqual(['SHUTDOWN', 'X']);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  it('gives up on silence', async () => {
    const client = await openQmp(monitor, nodeClock, 1000);
    monitor.answer = () => [];
    await expect(client.execute('query-status', {}, 20)).rejects.toThrow(/query-status: no answer within 20 ms/);
    monitor.setReading = () => {};
    await expect(openQmp(monitor, nodeClock, 20)).rejects.toThrow(/no greeting within 20 ms/);
  });

  it('ends with what is under way when the monitor ends', async () => {
    const client = await openQmp(monitor, nodeClock, 1000);
    monitor.answer = () => [];
    const pending = client.execute('stop');
    monitor.onEnd();
    await expect(pending).rejects.toBeInstanceOf(QmpSessionError);
    await expect(client.execute('cont')).rejects.toThrow(/QEMU closed it/);
    expect((await client.closed).message).toMatch(/QEMU closed it/);
  });

  it('ends at bytes that are no QMP, and with too many commands under way', async () => {
    const client = await openQmp(monitor, nodeClock, 1000);
    monitor.answer = () => [];
    const many = Array.from({ length: 65 }, () => client.execute('stop'));
    await expect(many[64]).rejects.toThrow(/already under way/);
    monitor.onData(new TextEncoder().encode('hello\n'));
    expect(await client.closed).toBeInstanceOf(QmpFormatError);
    for (const one of many) await expect(one).rejects.toThrow();
    expect(monitor.closed).toBe(true);
  });
});

describe('the decoder', () => {
  it('bounds a line', () => {
    const decoder = new QmpDecoder();
    const chunk = new Uint8Array(MAX_QMP_LINE_BYTES / 2).fill(0x20);
    decoder.push(chunk);
    decoder.push(chunk);
    expect(() => decoder.push(new Uint8Array([0x20]))).toThrow(/longer than/);
  });
});
