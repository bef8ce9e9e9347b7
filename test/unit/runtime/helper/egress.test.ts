/** The egress programs, run on made-up addresses and packets: both families, every rule, in their order. */
import { describe, expect, test } from 'vitest';
import { parseCidr } from '../../../../runtime/helper/cidr.ts';
import { buildEgressPrograms, type EgressRules } from '../../../../runtime/helper/egress.ts';
import { runBpf } from '../../../helpers/bpf-interpreter.ts';

const RULES: EgressRules = {
  resolvers: ['127.0.0.53', '192.0.2.53', '::1'],
  allowed: ['10.1.0.0/16', 'fd00:1::/32'],
  denied: ['127.0.0.0/8', '10.0.0.0/8', '192.0.2.53/32', 'fd00::/8', 'fe80::/10', '::/128', '::1/128', '::ffff:0:0/96'],
  denyHost: true,
};

/** Destination, port, whether the packet leaves by the loopback interface, and the verdict. */
const CASES: readonly [string, number, boolean, boolean][] = [
  ['198.51.100.7', 443, false, true],
  ['127.0.0.1', 443, true, false],
  ['127.0.0.53', 53, true, true],
  ['127.0.0.53', 54, true, false],
  ['192.0.2.53', 53, false, true],
  ['192.0.2.53', 80, false, false],
  ['10.2.3.4', 53, false, false],
  ['10.1.3.4', 80, false, true],
  ['10.1.3.4', 80, true, true],
  ['11.0.0.1', 80, false, true],
  ['2001:db8::1', 443, false, true],
  ['fe80::1', 443, false, false],
  ['febf::1', 443, false, false],
  ['fec0::1', 443, false, true],
  ['fd00:1::5', 443, false, true],
  ['fd00:2::5', 443, false, false],
  ['::1', 53, true, true],
  ['::1', 80, true, false],
  ['::', 80, true, false],
  ['::ffff:10.1.2.3', 80, false, false],
];

const programs = new Map(buildEgressPrograms(RULES).map(({ name, code }) => [name, code]));

function program(name: string): Uint8Array {
  const code = programs.get(name);
  if (code === undefined) throw new Error(name);
  return code;
}

function sockAddr(bytes: Uint8Array, port: number): Uint8Array {
  const context = new Uint8Array(72);
  context.set(bytes, bytes.length === 4 ? 4 : 8);
  new DataView(context.buffer).setUint16(24, port);
  return context;
}

/** A context of a packet; `loopback` is the interface it leaves by. */
function skb(family: number, loopback: boolean): Uint8Array {
  const context = new Uint8Array(192);
  const view = new DataView(context.buffer);
  view.setUint16(16, family === 4 ? 0x0800 : 0x86dd);
  view.setUint32(40, loopback ? 1 : 2, true);
  return context;
}

function packet(bytes: Uint8Array, port: number, protocol: number, options = 0): Uint8Array {
  const header = bytes.length === 4 ? 20 + options : 40;
  const result = new Uint8Array(header + 8);
  if (bytes.length === 4) {
    result[0] = 0x40 | (header / 4);
    result[9] = protocol;
    result.set(bytes, 16);
  } else {
    result[0] = 0x60;
    result[6] = protocol;
    result.set(bytes, 24);
  }
  new DataView(result.buffer).setUint16(header + 2, port);
  return result;
}

describe.each(CASES)('%s port %i, by loopback: %s', (address, port, loopback, allowed) => {
  const { bytes } = parseCidr(address);
  const suffix = bytes.length === 4 ? '4' : '6';

  test.each([6, 17])('a packet of protocol %i', (protocol) => {
    for (const options of bytes.length === 4 ? [0, 4, 40] : [0]) {
      const input = { context: skb(bytes.length, loopback), packet: packet(bytes, port, protocol, options) };
      expect(runBpf(program('egress'), input)).toBe(allowed ? 1 : 0);
    }
  });

  test('connect and sendmsg', () => {
    for (const name of [`connect${suffix}`, `sendmsg${suffix}`]) {
      expect(runBpf(program(name), { context: sockAddr(bytes, port) })).toBe(allowed ? 1 : 0);
    }
  });
});

test('an unnamed address is refused on the loopback interface, and a port counts for TCP and UDP alone', () => {
  const { bytes } = parseCidr('203.0.113.9');
  const run = (loopback: boolean, protocol: number, port: number, address = bytes): number =>
    runBpf(program('egress'), { context: skb(address.length, loopback), packet: packet(address, port, protocol) });
  expect(run(false, 6, 80)).toBe(1);
  expect(run(true, 6, 80)).toBe(0);
  expect(run(false, 1, 53, parseCidr('127.0.0.53').bytes)).toBe(0);
});

test('what is no IP packet, or too short for one, is refused', () => {
  const context = new Uint8Array(192);
  expect(runBpf(program('egress'), { context, packet: new Uint8Array(60) })).toBe(0);
  for (const family of [4, 16]) {
    expect(runBpf(program('egress'), { context: skb(family, false), packet: new Uint8Array(12) })).toBe(0);
  }
});
