// Generated from runtime/helper/proto/runtime-options.proto by `npm run proto`. Do not edit.
import { field, message, type MessageType } from '../../../agent/protocol/message.ts';

export interface Options {
  readonly typeUrl: string;
  readonly configPath: string;
  readonly configBody: Uint8Array;
}

export const Options: MessageType<Options> = message('runtimeoptions.v1.Options', () => [
  field(1, 'typeUrl', 'string'),
  field(2, 'configPath', 'string'),
  field(3, 'configBody', 'bytes'),
]);
