/**
 * UTF-8, by the environment's own TextEncoder and TextDecoder. Invalid sequences become U+FFFD, a byte order mark is
 * kept: a string of the wire is never a reason to fail, and never loses a character.
 */

interface Encoder {
  encode(text: string): Uint8Array;
}
interface Decoder {
  decode(bytes: Uint8Array): string;
}

declare const TextEncoder: new () => Encoder;
declare const TextDecoder: new (label: string, options: { readonly ignoreBOM: boolean }) => Decoder;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

export function encodeUtf8(text: string): Uint8Array {
  return encoder.encode(text);
}

export function decodeUtf8(bytes: Uint8Array): string {
  return bytes.length === 0 ? '' : decoder.decode(bytes);
}
