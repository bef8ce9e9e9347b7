// Generated from shim/task/proto/events-ttrpc.proto by `npm run proto`. Do not edit.
import { field, message, type MessageType } from '../../../agent/protocol/message.ts';
import { method, service } from '../../../agent/protocol/service.ts';
import { Envelope } from './types.ts';
import { Empty } from './google.ts';

export interface ForwardRequest {
  readonly envelope: Envelope | undefined;
}

export const ForwardRequest: MessageType<ForwardRequest> = message('containerd.services.events.ttrpc.v1.ForwardRequest', () => [
  field(1, 'envelope', Envelope),
]);

export const Events = service('containerd.services.events.ttrpc.v1.Events', {
  forward: method('Forward', ForwardRequest, Empty),
});
