/**
 * Owns: the words in which the tests inside the KVM host tell this machine what came of them: one JSON object per line,
 * sent as it happens, so that a host that hangs or dies still has told all before. Used on both sides.
 */

import { StringDecoder } from 'node:string_decoder';

/** What a line can say. */
export type ReportEvent =
  /** The host is up; the test runner starts. */
  | { readonly event: 'booted' }
  | { readonly event: 'file'; readonly file: string }
  | {
      readonly event: 'test';
      readonly file: string;
      readonly name: string;
      readonly state: 'passed' | 'failed' | 'skipped';
      readonly elapsedMs: number;
      /** Why it was skipped, or what went wrong. */
      readonly words: string;
    }
  /** A failure that is no test's own. */
  | { readonly event: 'problem'; readonly words: string }
  | { readonly event: 'file-end'; readonly file: string; readonly problems: readonly string[] }
  /** Every file has been run; the runner works out the coverage. */
  | { readonly event: 'tested' }
  | { readonly event: 'end'; readonly problems: readonly string[] };

/** A text of one line and its end. */
export function encodeEvent(event: ReportEvent): string {
  return `${JSON.stringify(event)}\n`;
}

/** Cuts a stream into events. A line that is none (a kernel message, say) is handed to `onNoise`. */
export function decodeEvents(
  onEvent: (event: ReportEvent) => void,
  onNoise: (line: string) => void,
): (chunk: Buffer) => void {
  const decoder = new StringDecoder();
  let rest = '';
  return (chunk) => {
    const lines = (rest + decoder.write(chunk)).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      try {
        onEvent(JSON.parse(line) as ReportEvent);
      } catch {
        onNoise(line);
      }
    }
  };
}
