/**
 * Services as data: what a generated file says of a `service`, and the types of a client and of its handlers that
 * follow from it. It knows no wire.
 */
import type { CancelSignal } from './cancel.ts';
import type { Init, MessageType } from './message.ts';

export interface Method<Request, Response> {
  /** As the wire has it ("CreateContainer"). */
  readonly name: string;
  readonly request: MessageType<Request>;
  readonly response: MessageType<Response>;
}

// `never` and `unknown` cannot bound a codec, which both takes and returns its message.
type AnyMethod = Method<never, never>;

export interface Service<Methods> {
  /** Full name, as the wire has it ("tskata.agent.v1.Agent"). */
  readonly typeName: string;
  readonly methods: Methods;
}

/** Declares a method; what generated files call. */
export function method<Request, Response>(
  name: string,
  request: MessageType<Request>,
  response: MessageType<Response>,
): Method<Request, Response> {
  return { name, request, response };
}

/** Declares a service; what generated files call. */
export function service<Methods>(typeName: string, methods: Methods): Service<Methods> {
  return { typeName, methods };
}

export interface CallOptions {
  /** Deadline; also sent to the server, which then cancels the call. 0: none. */
  readonly timeoutMs?: number;
  /** Gives the call up. The server is not told (ttrpc has no such message) and goes on until its deadline. */
  readonly signal?: CancelSignal;
  readonly metadata?: ReadonlyMap<string, string>;
}

/** What a handler learns beside its request. */
interface CallContext {
  /** Aborted at the deadline, when the client is gone, and at a reset. */
  readonly signal: CancelSignal;
  readonly metadata: ReadonlyMap<string, string>;
}

type RequestOf<M> = M extends Method<infer Request, infer _Response> ? Request : never;
type ResponseOf<M> = M extends Method<infer _Request, infer Response> ? Response : never;

/** `client.createContainer(request, { timeoutMs })`. */
export type Client<S> =
  S extends Service<infer Methods>
    ? {
        readonly [M in keyof Methods]: (
          request: Init<RequestOf<Methods[M]>>,
          options?: CallOptions,
        ) => Promise<ResponseOf<Methods[M]>>;
      }
    : never;

/** One function per method. What it throws becomes the status of the answer. */
export type Handlers<S> =
  S extends Service<infer Methods>
    ? {
        readonly [M in keyof Methods]: (
          request: RequestOf<Methods[M]>,
          context: CallContext,
        ) => Promise<Init<ResponseOf<Methods[M]>>> | Init<ResponseOf<Methods[M]>>;
      }
    : never;

/** A service and its implementation, with their types forgotten: what a server holds. */
export interface Binding {
  readonly typeName: string;
  find(methodName: string): BoundMethod | undefined;
}

export interface BoundMethod {
  readonly request: MessageType<unknown>;
  readonly response: MessageType<unknown>;
  handle(request: unknown, context: CallContext): unknown;
}

/** Ties handlers to their service. A method without a handler is answered as unimplemented. */
export function bind<Methods>(definition: Service<Methods>, handlers: Partial<Handlers<Service<Methods>>>): Binding {
  const methods = new Map<string, BoundMethod>();
  const functions = handlers as Record<string, BoundMethod['handle'] | undefined>;
  for (const [key, entry] of Object.entries(definition.methods as Record<string, AnyMethod>)) {
    const bound = functions[key];
    if (bound === undefined) continue;
    methods.set(entry.name, {
      request: entry.request as MessageType<unknown>,
      response: entry.response as MessageType<unknown>,
      handle: (request, context) => bound.call(handlers, request, context),
    });
  }
  return { typeName: definition.typeName, find: (name) => methods.get(name) };
}
