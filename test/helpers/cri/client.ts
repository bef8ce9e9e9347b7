/**
 * A client of Kubernetes' Container Runtime Interface over gRPC on a unix socket: its messages are tables made from
 * `proto/cri.proto`, its calls typed by them. What kubelet and crictl do, in the tests' own words.
 */
import { credentials, Client as GrpcClient, Metadata, type ServiceError } from '@grpc/grpc-js';
import type { Init, MessageType } from '../../../agent/protocol/message.ts';
import type { Client, Method, Service } from '../../../agent/protocol/service.ts';
import { ImageService, RuntimeService } from './generated/cri.ts';

/** A start of several machines at once under emulation, on a machine with other work. */
const CALL_TIMEOUT_MS = 280_000;

/** Both services of a CRI endpoint. */
export interface Cri {
  readonly runtime: Client<typeof RuntimeService>;
  readonly images: Client<typeof ImageService>;
  close(): void;
}

/** Connects to a socket; the first call fails if nobody listens. */
export function connectCri(socket: string): Cri {
  const client = new GrpcClient(`unix:${socket}`, credentials.createInsecure());
  return {
    runtime: clientOf(client, RuntimeService),
    images: clientOf(client, ImageService),
    close: () => client.close(),
  };
}

/** A function per method. What a call throws is grpc-js' error: `code`, and the server's words in `details`. */
function clientOf<S extends Service<unknown>>(client: GrpcClient, definition: S): Client<S> {
  const calls = Object.entries(definition.methods as Readonly<Record<string, Method<unknown, unknown>>>).map(
    ([key, { name, request, response }]) => [
      key,
      (message: Init<unknown>, options: { readonly timeoutMs?: number } = {}) =>
        unary(client, `/${definition.typeName}/${name}`, { request, response }, message, options.timeoutMs),
    ],
  );
  return Object.fromEntries(calls) as Client<S>;
}

function unary(
  client: GrpcClient,
  path: string,
  types: { readonly request: MessageType<unknown>; readonly response: MessageType<unknown> },
  message: Init<unknown>,
  timeoutMs = CALL_TIMEOUT_MS,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      (value: Init<unknown>) => Buffer.from(types.request.encode(value)),
      (bytes: Buffer) => types.response.decode(bytes),
      message,
      new Metadata(),
      { deadline: Date.now() + timeoutMs },
      (error: ServiceError | null, answer) => {
        if (error === null) resolve(answer);
        else reject(error);
      },
    );
  });
}
