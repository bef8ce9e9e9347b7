/** The monitor's decoder and the profiles' reader under random input: bounded, typed errors, independent of chunks. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { TskataError } from '../../agent/protocol/errors.ts';
import { LineTail, MAX_LINE_CHARACTERS, MAX_TAIL_LINES } from '../../runtime/qemu/console.ts';
import { parseProfile } from '../../runtime/qemu/profile.ts';
import { QmpDecoder, QmpFormatError, type QmpMessage } from '../../runtime/qemu/qmp/decoder.ts';

const SEED = { seed: 20_260_729, numRuns: 500 };
const chunks = fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 20 });

it('random bytes are refused or understood, never anything else', () => {
  fc.assert(
    fc.property(chunks, (parts) => {
      const decoder = new QmpDecoder();
      try {
        for (const part of parts) decoder.push(part);
      } catch (error) {
        expect(error).toBeInstanceOf(QmpFormatError);
      }
    }),
    SEED,
  );
});

const message = fc.oneof(
  fc.record({ event: fc.string(), data: fc.jsonValue() }),
  fc.record({ return: fc.jsonValue(), id: fc.integer() }),
  fc.record({ error: fc.record({ class: fc.string(), desc: fc.string() }), id: fc.integer() }),
);

it('messages do not depend on how their bytes are cut', () => {
  fc.assert(
    fc.property(fc.array(message, { maxLength: 5 }), fc.array(fc.nat(400), { maxLength: 6 }), (messages, cuts) => {
      const bytes = new TextEncoder().encode(messages.map((one) => `${JSON.stringify(one)}\n`).join(''));
      const whole = new QmpDecoder().push(bytes);
      const decoder = new QmpDecoder();
      const pieces: QmpMessage[] = [];
      const ends = [...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length];
      let start = 0;
      for (const end of ends) {
        pieces.push(...decoder.push(bytes.subarray(start, end)));
        start = end;
      }
      expect(pieces).toEqual(whole);
      expect(whole).toHaveLength(messages.length);
    }),
    SEED,
  );
});

it('a profile is good or refused with its path', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      expect(() => parseProfile('fuzz', text)).toThrow(TskataError);
    }),
    SEED,
  );
});

it('a console stays within its bounds', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 2000 }), { maxLength: 20 }), (parts) => {
      const tail = new LineTail();
      for (const part of parts) tail.push(part);
      expect(tail.tail().length).toBeLessThanOrEqual(MAX_TAIL_LINES + 1);
      for (const line of tail.tail()) {
        expect(line.length).toBeLessThanOrEqual(MAX_LINE_CHARACTERS);
        expect(line).not.toMatch(/\p{Cc}/u);
      }
    }),
    { ...SEED, numRuns: 200 },
  );
});
