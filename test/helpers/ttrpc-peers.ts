/** Both ends of a ttrpc connection in this process, whole or played by hand, with a clock that a test moves. */
import { expect } from 'vitest';
import type { Clock } from '../../agent/protocol/channel.ts';
import { TskataError } from '../../agent/protocol/errors.ts';
import { Agent } from '../../agent/protocol/generated/agent.ts';
import { Request, Response } from '../../agent/protocol/generated/ttrpc.ts';
import { type MemoryOptions, memoryPair } from '../../agent/protocol/memory-channel.ts';
import { bind, type Handlers } from '../../agent/protocol/service.ts';
import { createClient, TtrpcClient } from '../../agent/protocol/ttrpc/client.ts';
import { encodeHeader } from '../../agent/protocol/ttrpc/frame.ts';
import { ChannelPipe } from '../../agent/protocol/ttrpc/pipe.ts';
import { TtrpcServer } from '../../agent/protocol/ttrpc/server.ts';

export const MAX = 4096;
export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A clock that a test moves. */
export class HandClock implements Clock {
  private time = 0;
  private readonly timers = new Map<number, { readonly atMs: number; readonly fire: () => void }>();
  private next = 0;
  now(): number {
    return this.time;
  }
  timer(delayMs: number, fire: () => void): () => void {
    const id = this.next++;
    this.timers.set(id, { atMs: this.time + delayMs, fire });
    return () => this.timers.delete(id);
  }
  get count(): number {
    return this.timers.size;
  }
  pass(durationMs: number): void {
    this.time += durationMs;
    for (const [id, timer] of [...this.timers]) {
      if (timer.atMs > this.time || !this.timers.delete(id)) continue;
      timer.fire();
    }
  }
}

export function connected(handlers: Partial<Handlers<typeof Agent>>, options: MemoryOptions = {}) {
  const clock = new HandClock();
  const [near, far] = memoryPair(options);
  const client = new TtrpcClient(new ChannelPipe(near, MAX), clock);
  const calls: unknown[][] = [];
  const server = new TtrpcServer(new ChannelPipe(far, MAX), [bind(Agent, handlers)], clock, {
    onCall: (...call) => calls.push(call),
  });
  return { clock, client, server, calls, near, far, call: createClient(Agent, client) };
}

/** A server that a test plays by hand: what came, and a way to answer. */
export function playedServer(options: MemoryOptions = {}) {
  const clock = new HandClock();
  const [near, far] = memoryPair(options);
  const client = new TtrpcClient(new ChannelPipe(near, MAX), clock);
  const ends: TskataError[] = [];
  client.onEnd = (error) => ends.push(error);
  const answer = (id: number, message: Uint8Array, type = 2): void => {
    far.write(encodeHeader(message.length, id, type));
    far.write(message);
  };
  return { clock, client, ends, far, answer, call: createClient(Agent, client) };
}

/** A client that a test plays by hand. */
export function playedClient(handlers: Partial<Handlers<typeof Agent>>, maxInFlight?: number) {
  const clock = new HandClock();
  const [near, far] = memoryPair();
  const server = new TtrpcServer(
    new ChannelPipe(far, MAX),
    [bind(Agent, handlers)],
    clock,
    maxInFlight === undefined ? {} : { maxInFlight },
  );
  const answers: { readonly id: number; readonly code: number; readonly message: string }[] = [];
  const pipe = new ChannelPipe(near, MAX);
  pipe.onFrame = (header, message) => {
    const { status } = Response.decode(message);
    answers.push({ id: header.streamId, code: status?.code ?? 0, message: status?.message ?? '' });
  };
  const send = (id: number, method: string, service = 'tskata.agent.v1.Agent', type = 1): void => {
    const message = Request.encode({ service, method });
    near.write(encodeHeader(message.length, id, type));
    near.write(message);
  };
  return { clock, near, server, answers, send };
}

export async function refusal(promise: Promise<unknown>): Promise<TskataError> {
  const error = await promise.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(TskataError);
  return error as TskataError;
}
