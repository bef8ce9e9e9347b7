// Generated from runtime/helper/proto/bootstrap.proto by `npm run proto`. Do not edit.
import { field, message, repeated, type MessageType } from '../../../agent/protocol/message.ts';
import { Any } from './google.ts';

export interface BootstrapParams {
  /** Set by every containerd that writes this message: tells it from a bare Any. */
  readonly containerdVersion: string;
  readonly containerdTtrpcAddress: string;
  readonly extensions: readonly Extension[];
}

export const BootstrapParams: MessageType<BootstrapParams> = message('containerd.runtime.bootstrap.v1.BootstrapParams', () => [
  field(4, 'containerdVersion', 'string'),
  field(5, 'containerdTtrpcAddress', 'string'),
  repeated(8, 'extensions', Extension),
]);

export interface Extension {
  readonly value: Any | undefined;
}

export const Extension: MessageType<Extension> = message('containerd.runtime.bootstrap.v1.Extension', () => [
  field(1, 'value', Any),
]);
