/**
 * The calling side of ttrpc: concurrent unary calls with deadlines, over any FramePipe. It knows no service.
 *
 * Nothing that the peer does costs more than a bounded amount: answers nobody waits for are counted, answers to calls
 * that were never made end the connection.
 */
import type { Clock } from '../channel.ts';
import { assert, boundedText, Code, codeOfNumber, TskataError } from '../errors.ts';
import { Request, Response } from '../generated/ttrpc.ts';
import {
  CALL_TIMEOUT_MS,
  MAX_ABANDONED_CALLS,
  MAX_CALLS_IN_FLIGHT,
  MAX_QUEUED_BYTES,
  MAX_TIMER_MS,
} from '../limits.ts';
import type { MessageType } from '../message.ts';
import type { CallOptions, Client, Method, Service } from '../service.ts';
import { encodeHeader, type FrameHeader, FrameType } from './frame.ts';
import type { FramePipe } from './pipe.ts';

interface PendingCall {
  readonly label: string;
  settle(error: TskataError | undefined, payload: Uint8Array): void;
}

const EMPTY = new Uint8Array(0);
const LAST_STREAM_ID = 0xffff_ffff;

export class TtrpcClient {
  /** Called once when the connection has ended for a reason that was not `close`. */
  onEnd: (error: TskataError) => void = () => {};
  private readonly pipe: FramePipe;
  private readonly clock: Clock;
  private readonly pending = new Map<number, PendingCall>();
  private nextId = 1;
  /** Calls that ended here without an answer; the peer may still send one for each. */
  private abandoned = 0;
  private error: TskataError | undefined;
  /** Bytes of requests that were sent since the pipe became congested; undefined while it is not. */
  private queuedBytes: number | undefined;

  constructor(pipe: FramePipe, clock: Clock) {
    this.pipe = pipe;
    this.clock = clock;
    pipe.onFrame = (header, message) => this.receive(header, message);
    pipe.onOversized = (header) => this.refuseOversized(header);
    pipe.onDrain = () => {
      this.queuedBytes = undefined;
    };
    pipe.onEnd = (cause) => this.end(lost(cause));
  }

  /** Calls that have no answer yet. */
  get inFlight(): number {
    return this.pending.size;
  }

  /** Makes one call. Rejects with a TskataError only. */
  call<Q, R>(serviceName: string, method: Method<Q, R>, request: Q, options: CallOptions = {}): Promise<R> {
    const label = `call ${method.name}`;
    let payload: Uint8Array;
    try {
      payload = (method.request as MessageType<unknown>).encode(request as never);
    } catch (error) {
      return Promise.reject(TskataError.from(error));
    }
    return this.exchange(label, serviceName, method.name, payload, options).then((bytes) =>
      method.response.decode(bytes),
    );
  }

  private exchange(
    label: string,
    serviceName: string,
    methodName: string,
    payload: Uint8Array,
    options: CallOptions,
  ): Promise<Uint8Array> {
    const wanted = options.timeoutMs ?? CALL_TIMEOUT_MS;
    const timeoutMs = wanted > MAX_TIMER_MS ? 0 : wanted;
    const metadata = [...(options.metadata ?? [])].map(([key, value]) => ({ key, value }));
    const timeoutNano = BigInt(Math.ceil(timeoutMs)) * 1_000_000n;
    const message = Request.encode({ service: serviceName, method: methodName, payload, timeoutNano, metadata });
    const refusal = this.refusal(label, message.length, options);
    if (refusal) return Promise.reject(refusal);
    const id = this.nextId;
    this.nextId += 2;
    return new Promise((resolve, reject) => {
      const give = (code: Code, fact: string): void => {
        if (!this.pending.has(id)) return;
        this.abandoned++;
        settle(new TskataError(code, `${label}: ${fact}`), EMPTY);
        if (this.abandoned > MAX_ABANDONED_CALLS) this.fail('the peer leaves its calls unanswered');
      };
      const onAbort = (): void => give(Code.Canceled, 'it was given up by its caller');
      const cancelTimer =
        timeoutMs > 0
          ? this.clock.timer(timeoutMs, () => give(Code.DeadlineExceeded, `no answer within ${timeoutMs} ms`))
          : undefined;
      const settle = (error: TskataError | undefined, answer: Uint8Array): void => {
        this.pending.delete(id);
        cancelTimer?.();
        options.signal?.removeEventListener('abort', onAbort);
        if (error) reject(error);
        else resolve(answer);
      };
      this.pending.set(id, { label, settle });
      options.signal?.addEventListener('abort', onAbort);
      const flowing = this.pipe.send(encodeHeader(message.length, id, FrameType.Request), message);
      if (this.queuedBytes !== undefined) this.queuedBytes += message.length;
      else if (!flowing) this.queuedBytes = message.length;
    });
  }

  private refusal(label: string, length: number, options: CallOptions): TskataError | undefined {
    if (this.error) return new TskataError(this.error.code, `${label}: ${this.error.message}`, this.error);
    if (options.signal?.aborted) return new TskataError(Code.Canceled, `${label}: it was given up by its caller`);
    if (length > this.pipe.maxMessageBytes) {
      const fact = `the request has ${length} bytes, the limit is ${this.pipe.maxMessageBytes}`;
      return new TskataError(Code.ResourceExhausted, `${label}: ${fact}`);
    }
    if (this.pending.size >= MAX_CALLS_IN_FLIGHT) {
      return new TskataError(Code.ResourceExhausted, `${label}: ${MAX_CALLS_IN_FLIGHT} calls are already under way`);
    }
    if ((this.queuedBytes ?? 0) + length > MAX_QUEUED_BYTES) {
      return new TskataError(
        Code.Unavailable,
        `${label}: the peer does not read: ${this.queuedBytes} bytes wait for it`,
      );
    }
    if (this.nextId > LAST_STREAM_ID)
      return new TskataError(Code.Unavailable, `${label}: the connection has used all its ids`);
    return undefined;
  }

  /** Ends the connection: calls under way are rejected. */
  close(): void {
    this.end(new TskataError(Code.Unavailable, 'the connection was closed'), true);
  }

  private fail(fact: string): void {
    this.end(new TskataError(Code.DataLoss, `ttrpc connection: ${fact}`));
  }

  private end(error: TskataError, asked = false): void {
    if (this.error) return;
    this.error = error;
    this.pipe.close();
    for (const call of [...this.pending.values()]) {
      call.settle(new TskataError(error.code, `${call.label}: ${error.message}`, error), EMPTY);
    }
    assert(this.pending.size === 0, 'every pending call is settled');
    if (!asked) this.onEnd(error);
  }

  private find(header: FrameHeader): PendingCall | undefined {
    const call = this.pending.get(header.streamId);
    if (call) return call;
    if (header.streamId % 2 === 1 && header.streamId < this.nextId && this.abandoned > 0) this.abandoned--;
    else this.fail(`an answer to call ${header.streamId}, which does not wait for one`);
    return undefined;
  }

  private receive(header: FrameHeader, message: Uint8Array): void {
    if (header.type !== FrameType.Response) {
      this.fail(`a frame of type ${header.type} came from the server`);
      return;
    }
    const call = this.find(header);
    if (!call) return;
    let response: Response;
    try {
      response = Response.decode(message);
    } catch (error) {
      call.settle(new TskataError(Code.DataLoss, `${call.label}: ${TskataError.from(error).message}`, error), EMPTY);
      return;
    }
    const status = response.status;
    if (status === undefined || status.code === Code.Ok) call.settle(undefined, response.payload);
    else call.settle(new TskataError(codeOfNumber(status.code), boundedText(status.message)), EMPTY);
  }

  private refuseOversized(header: FrameHeader): void {
    const fact = `the answer has ${header.length} bytes, the limit is ${this.pipe.maxMessageBytes}`;
    const call = this.find(header);
    call?.settle(new TskataError(Code.ResourceExhausted, `${call.label}: ${fact}`), EMPTY);
  }
}

function lost(cause: Error | undefined): TskataError {
  const fact = cause ? `the connection broke: ${cause.message}` : 'the connection ended';
  return new TskataError(cause instanceof TskataError ? cause.code : Code.Unavailable, fact, cause);
}

/** A typed client of one service: `createClient(Agent, client).hello({ protocol }, { timeoutMs })`. */
export function createClient<Methods>(definition: Service<Methods>, client: TtrpcClient): Client<Service<Methods>> {
  const result: Record<string, unknown> = {};
  for (const [key, method] of Object.entries(definition.methods as Record<string, Method<unknown, unknown>>)) {
    result[key] = (request: unknown, options?: CallOptions) =>
      client.call(definition.typeName, method, request, options);
  }
  return result as Client<Service<Methods>>;
}
