/** The program that chooses the listener, run on made-up lookups. */
import { expect, test } from 'vitest';
import { parseIp } from '../../../../agent/sys/ip.ts';
import { loopbackProgram } from '../../../../runtime/helper/loopback.ts';
import { runBpf } from '../../../helpers/bpf-interpreter.ts';

const TCP = 6;
const UDP = 17;
const MAP_FD = 12;
const SOCKET = 77;

/** struct bpf_sk_lookup of a connection to an address. */
function lookup(address: string, protocol: number): Uint8Array {
  const bytes = parseIp(address) ?? new Uint8Array(0);
  const context = new Uint8Array(72);
  const view = new DataView(context.buffer);
  view.setUint32(8, bytes.length === 4 ? 2 : 10, true);
  view.setUint32(12, protocol, true);
  context.set(bytes, bytes.length === 4 ? 40 : 44);
  return context;
}

/** Calls of the kernel's helpers, and the verdict. */
function run(context: Uint8Array, found: number): { verdict: number; calls: string[] } {
  const calls: string[] = [];
  const verdict = runBpf(loopbackProgram(MAP_FD).code, {
    context,
    helpers: {
      1: ([map]) => {
        calls.push(`look up in ${map}`);
        return found;
      },
      86: ([socket]) => {
        calls.push(`release ${socket}`);
        return 0;
      },
      124: ([, socket, flags]) => {
        calls.push(`assign ${socket} with ${flags}`);
        return 0;
      },
    },
  });
  return { verdict, calls };
}

test.each(['127.0.0.1', '127.255.255.254', '::1'])('TCP to %s goes to the socket', (address) => {
  const calls = [`look up in ${MAP_FD}`, `assign ${SOCKET} with 0`, `release ${SOCKET}`];
  expect(run(lookup(address, TCP), SOCKET)).toEqual({ verdict: 1, calls });
});

test.each([
  ['10.0.0.127', TCP],
  ['128.0.0.1', TCP],
  ['127.0.0.1', UDP],
  ['::1', UDP],
  ['::', TCP],
  ['::2', TCP],
  ['1::1', TCP],
  ['0:1::1', TCP],
  ['::1:0:0:1', TCP],
  ['::ffff:127.0.0.1', TCP],
])('%s by %i is left to the kernel', (address, protocol) => {
  expect(run(lookup(address, protocol), SOCKET)).toEqual({ verdict: 1, calls: [] });
});

test('a socket that is gone is left to the kernel', () => {
  expect(run(lookup('127.0.0.1', TCP), 0)).toEqual({ verdict: 1, calls: [`look up in ${MAP_FD}`] });
});
