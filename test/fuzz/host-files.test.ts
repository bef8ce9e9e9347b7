/** What the host's files and kernel say: read, or left out where it makes no sense, and never more than there is. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import { TskataError } from '../../agent/protocol/errors.ts';
import { parseAttributes, parseNetlink } from '../../agent/sys/netlink.ts';
import { type LogEntry, LogReader } from '../../runtime/cli/log-reader.ts';
import { parseElfNeeds } from '../../runtime/helper-client/elf.ts';
import { parseResolvConf, resolversOf } from '../../runtime/network/resolvers.ts';
import { parseMountInfo } from '../../runtime/storage/mount-info.ts';

const SETTINGS = { seed: 20_261_127, numRuns: 2_000 };
const FILES = { seed: 20_261_127, numRuns: 200 };

const directory = mkdtempSync(join(tmpdir(), 'tskata-fuzz-'));
afterAll(() => rmSync(directory, { recursive: true }));

const entry = fc.record({
  time: fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
  stream: fc.constantFrom('stdout' as const, 'stderr' as const),
  log: fc.string({ unit: 'binary' }),
});
const damaged = fc.oneof(
  fc.json().map((text) => text.replaceAll('\n', ' ')),
  fc.string().map((text) => text.replaceAll('\n', ' ')),
  entry.chain((whole) => fc.nat(30).map((length) => JSON.stringify(whole).slice(0, length))),
  fc.constantFrom('null', '5', '[]', '{}', '{"time":1,"stream":"stdout","log":"x"}', '{"stream":"stdout","log":7}'),
);

test('a log: every whole entry in order, nothing else, also across its rotation', async () => {
  const lines = fc.array(fc.oneof(entry, damaged), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(lines, lines, fc.boolean(), async (previous, current, cut) => {
      const path = join(directory, 'log');
      const textOf = (part: readonly (LogEntry | string)[]): string =>
        part.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('');
      writeFileSync(`${path}.1`, textOf(previous));
      writeFileSync(path, textOf(current).slice(0, cut ? -1 : undefined));
      const reader = new LogReader(path);
      const found: LogEntry[] = [];
      for await (const each of reader.read()) found.push(each);
      await reader.close();
      const expected = [...previous, ...(cut ? current.slice(0, -1) : current)].filter(
        (line) => typeof line !== 'string',
      );
      expect(found.filter(({ time }) => time.length > 20)).toEqual(expected);
      for (const { time, stream, log } of found) {
        expect([typeof time, typeof log, stream === 'stdout' || stream === 'stderr']).toEqual([
          'string',
          'string',
          true,
        ]);
      }
    }),
    FILES,
  );
});

test('resolv.conf: addresses, at most three, none of a family that is not there', () => {
  const line = fc.oneof(
    fc
      .tuple(
        fc.constantFrom('nameserver', ' nameserver', '#nameserver', 'nameservers', 'search'),
        fc.constantFrom(' ', '\t', ''),
        fc.oneof(fc.ipV4(), fc.ipV6(), fc.constantFrom('127.0.0.53', 'fe80::1%eth0', '::1', '0.0.0.0'), fc.string()),
      )
      .map((words) => words.join('')),
    fc.string({ unit: 'binary' }),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 8 }), fc.boolean(), fc.boolean(), (lines, inet4, inet6) => {
      const servers = parseResolvConf(lines.join('\n'));
      for (const server of servers) expect(isIP(server)).not.toBe(0);
      const { guest, host } = resolversOf(servers, { inet4, inet6 });
      expect(guest.length).toBeLessThanOrEqual(3);
      for (const server of [...guest, ...host]) expect(isIP(server) === 4 ? inet4 : inet6).toBe(true);
    }),
    SETTINGS,
  );
});

test('the table of mounts', () => {
  const word = fc.oneof(fc.nat().map(String), fc.constantFrom('-', '/', '/a\\040b', 'rw,x', 'tmpfs'), fc.string());
  fc.assert(
    fc.property(fc.array(word, { maxLength: 24 }), fc.constantFrom(' ', '\n', ' - '), (words, between) => {
      for (const { type, options } of parseMountInfo(words.join(between)).values()) {
        expect(type).not.toBe('');
        expect(options.length).toBeGreaterThan(0);
      }
    }),
    SETTINGS,
  );
});

test('netlink: messages and attributes stay within their datagram', () => {
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 200 }), datagram());
  fc.assert(
    fc.property(bytes, (datagram) => {
      const { messages } = parseNetlink(datagram, 7);
      for (const { payload } of messages) {
        const attributes = [...parseAttributes(payload).values()];
        expect(attributes.reduce((total, value) => total + value.length + 4, 0)).toBeLessThanOrEqual(payload.length);
      }
      expect(messages.reduce((total, { payload }) => total + payload.length, 0)).toBeLessThanOrEqual(datagram.length);
    }),
    SETTINGS,
  );
});

/** Messages with lengths that may lie. */
function datagram(): fc.Arbitrary<Uint8Array> {
  const message = fc.tuple(fc.integer({ min: 0, max: 80 }), fc.nat(20), fc.uint8Array({ maxLength: 60 }));
  return fc.array(message, { maxLength: 4 }).map((parts) => {
    const pieces = parts.map(([length, type, payload]) => {
      const piece = Buffer.alloc(16 + payload.length);
      piece.writeUInt32LE(length, 0);
      piece.writeUInt16LE(type, 4);
      piece.writeUInt32LE(7, 8);
      piece.set(payload, 16);
      return piece;
    });
    return new Uint8Array(Buffer.concat(pieces));
  });
}

test('an ELF file is understood or refused', () => {
  const header = Buffer.alloc(64);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
  const file = fc.tuple(fc.boolean(), fc.uint8Array({ maxLength: 400 })).map(([real, rest]) => {
    return real ? new Uint8Array(Buffer.concat([header.subarray(0, 6), rest])) : rest;
  });
  fc.assert(
    fc.property(file, (bytes) => {
      try {
        expect(parseElfNeeds(bytes, '/bin/x').needed.length).toBeLessThanOrEqual(bytes.length);
      } catch (error) {
        expect(error, String(error)).toBeInstanceOf(TskataError);
      }
    }),
    SETTINGS,
  );
});
