/**
 * The answering side of ttrpc on one connection. It knows no service: handlers are bound by `bind`.
 *
 * A client that vanishes, and a deadline that passes, abort the signal of the call. While the client does not read its
 * answers, no further requests are read.
 */
import { CancelSource } from '../cancel.ts';
import type { Clock } from '../channel.ts';
import { Code, TskataError } from '../errors.ts';
import { Request, Response } from '../generated/ttrpc.ts';
import { MAX_CALLS_IN_FLIGHT, MAX_METADATA_ENTRIES, MAX_STRAY_FRAMES, MAX_TIMER_MS } from '../limits.ts';
import type { Binding, BoundMethod } from '../service.ts';
import { encodeHeader, FLAG_REMOTE_OPEN, type FrameHeader, FrameType } from './frame.ts';
import type { FramePipe } from './pipe.ts';

export interface ServerOptions {
  /** Calls under way at which further ones are refused; MAX_CALLS_IN_FLIGHT when absent. */
  readonly maxInFlight?: number;
  /** Told of every call that ended: for logs. */
  readonly onCall?: (methodName: string, durationMs: number, code: Code, message: string) => void;
}

interface RunningCall {
  readonly source: CancelSource;
  cancelTimer: (() => void) | undefined;
  /** The answer is sent, or nobody is there to take it; the handler may still run. */
  answered: boolean;
}

/** Serves one connection until it ends. */
export class TtrpcServer {
  /** Called once when the connection has ended, with its cause unless the peer simply closed. */
  onEnd: (error?: Error) => void = () => {};
  private readonly pipe: FramePipe;
  private readonly bindings: ReadonlyMap<string, Binding>;
  private readonly clock: Clock;
  private readonly options: ServerOptions;
  private readonly running = new Set<RunningCall>();
  private lastId = 0;
  private strays = 0;
  private ended = false;

  constructor(pipe: FramePipe, bindings: readonly Binding[], clock: Clock, options: ServerOptions = {}) {
    this.pipe = pipe;
    this.bindings = new Map(bindings.map((binding) => [binding.typeName, binding]));
    this.clock = clock;
    this.options = options;
    pipe.onFrame = (header, message) => this.receive(header, message);
    pipe.onOversized = (header) => this.refuseOversized(header);
    pipe.onDrain = () => this.pipe.setReading(true);
    pipe.onEnd = (error) => this.end(error);
  }

  /** Handlers that have not finished, of this connection. */
  get inFlight(): number {
    return this.running.size;
  }

  /** A new connection has begun on the same pipe: the calls of the one before are aborted, and never answered. */
  reset(reason: string): void {
    this.abandonAll(reason);
    this.ended = false;
    this.lastId = 0;
    this.strays = 0;
  }

  private abandonAll(reason: string): void {
    for (const call of [...this.running]) {
      call.answered = true;
      call.cancelTimer?.();
      call.source.abort(new TskataError(Code.Canceled, reason));
    }
    // A handler that waits for ever must not take a place from the next connection's calls.
    this.running.clear();
  }

  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.pipe.close();
    this.abandonAll('the connection was closed');
  }

  private end(error?: Error): void {
    if (this.ended) return;
    this.ended = true;
    this.abandonAll('the client is gone');
    this.onEnd(error);
  }

  private receive(header: FrameHeader, message: Uint8Array): void {
    if (header.type !== FrameType.Request) {
      // Data of streaming calls that were refused; there cannot be many.
      if (++this.strays > MAX_STRAY_FRAMES) this.pipe.fail(`${this.strays} frames belong to no call`);
      return;
    }
    const refusal = this.admit(header);
    if (refusal) {
      this.answer(header.streamId, refusal, undefined);
      return;
    }
    let request: Request;
    try {
      request = Request.decode(message);
    } catch (error) {
      this.answer(header.streamId, TskataError.from(error), undefined);
      return;
    }
    this.dispatch(header, request);
  }

  private admit(header: FrameHeader): TskataError | undefined {
    const id = header.streamId;
    if (id % 2 === 0) return new TskataError(Code.InvalidArgument, `ttrpc: stream id ${id} is not odd`);
    if (id <= this.lastId)
      return new TskataError(Code.InvalidArgument, `ttrpc: stream id ${id} does not rise above ${this.lastId}`);
    this.lastId = id;
    const limit = this.options.maxInFlight ?? MAX_CALLS_IN_FLIGHT;
    if (this.running.size >= limit)
      return new TskataError(Code.ResourceExhausted, `ttrpc: ${limit} calls are already under way`);
    return undefined;
  }

  private dispatch(header: FrameHeader, request: Request): void {
    const binding = this.bindings.get(request.service);
    if (!binding) {
      this.answer(
        header.streamId,
        new TskataError(Code.Unimplemented, `service ${printable(request.service)} is not served here`),
        undefined,
      );
      return;
    }
    const method = (header.flags & FLAG_REMOTE_OPEN) === 0 ? binding.find(request.method) : undefined;
    if (!method) {
      const fact = `method ${printable(request.method)} of ${request.service} is not implemented`;
      this.answer(header.streamId, new TskataError(Code.Unimplemented, fact), undefined);
      return;
    }
    void this.run(header.streamId, method, request);
  }

  private async run(id: number, method: BoundMethod, request: Request): Promise<void> {
    const startedMs = this.clock.now();
    const call: RunningCall = { source: new CancelSource(), cancelTimer: undefined, answered: false };
    this.running.add(call);
    const timeoutMs = Number(request.timeoutNano / 1_000_000n);
    if (request.timeoutNano > 0n && timeoutMs <= MAX_TIMER_MS) {
      call.cancelTimer = this.clock.timer(timeoutMs, () => {
        const error = new TskataError(
          Code.DeadlineExceeded,
          `${request.method}: it did not end within ${timeoutMs} ms`,
        );
        this.finish(call, id, request, startedMs, error, undefined);
        call.source.abort(error);
      });
    }
    try {
      const metadata = new Map(
        request.metadata.slice(0, MAX_METADATA_ENTRIES).map((entry) => [entry.key, entry.value]),
      );
      const result = await method.handle(method.request.decode(request.payload), { signal: call.source, metadata });
      this.finish(call, id, request, startedMs, undefined, method.response.encode(result as never));
    } catch (error) {
      this.finish(call, id, request, startedMs, TskataError.from(error), undefined);
    }
    this.running.delete(call);
  }

  private finish(
    call: RunningCall,
    id: number,
    request: Request,
    startedMs: number,
    error: TskataError | undefined,
    payload: Uint8Array | undefined,
  ): void {
    if (call.answered) return;
    call.answered = true;
    call.cancelTimer?.();
    this.answer(id, error, payload);
    this.options.onCall?.(request.method, this.clock.now() - startedMs, error?.code ?? Code.Ok, error?.message ?? '');
  }

  private answer(id: number, error: TskataError | undefined, payload: Uint8Array | undefined): void {
    if (this.ended) return;
    let message = encodeAnswer(error, payload);
    if (message.length > this.pipe.maxMessageBytes) {
      const fact = `the answer has ${message.length} bytes, the limit is ${this.pipe.maxMessageBytes}`;
      message = encodeAnswer(new TskataError(Code.ResourceExhausted, `ttrpc: ${fact}`), undefined);
    }
    if (!this.pipe.send(encodeHeader(message.length, id, FrameType.Response), message)) this.pipe.setReading(false);
  }

  private refuseOversized(header: FrameHeader): void {
    if (header.type !== FrameType.Request) {
      this.receive(header, new Uint8Array(0));
      return;
    }
    const fact = `the request has ${header.length} bytes, the limit is ${this.pipe.maxMessageBytes}`;
    this.answer(
      header.streamId,
      this.admit(header) ?? new TskataError(Code.ResourceExhausted, `ttrpc: ${fact}`),
      undefined,
    );
  }
}

function encodeAnswer(error: TskataError | undefined, payload: Uint8Array | undefined): Uint8Array {
  return error
    ? Response.encode({ status: { code: error.code === Code.Ok ? Code.Unknown : error.code, message: error.message } })
    : Response.encode({ status: {}, payload });
}

/** A name that came from a peer, short enough for an error. */
function printable(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}...` : name);
}
