// Generated from runtime/helper/proto/google.proto by `npm run proto`. Do not edit.
import { field, message, type MessageType } from '../../../agent/protocol/message.ts';

export interface Any {
  readonly typeUrl: string;
  readonly value: Uint8Array;
}

export const Any: MessageType<Any> = message('google.protobuf.Any', () => [
  field(1, 'typeUrl', 'string'),
  field(2, 'value', 'bytes'),
]);
