/** The codec against protobufjs' own, which reads the same .proto files by reflection: two implementations must agree. */
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { describe, expect, it } from 'vitest';
import { TskataError } from '../../../../agent/protocol/errors.ts';
import * as agent from '../../../../agent/protocol/generated/agent.ts';
import { MAX_MESSAGE_ELEMENTS } from '../../../../agent/protocol/limits.ts';
import { field, type MessageType, map, message, optional, repeated } from '../../../../agent/protocol/message.ts';
import { Metrics } from '../../../../shim/task/generated/cgroups.ts';
import { TaskExit } from '../../../../shim/task/generated/events.ts';
import { StateResponse } from '../../../../shim/task/generated/task.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));

interface Everything {
  readonly d: number;
  readonly f: number;
  readonly i32: number;
  readonly u32: number;
  readonly s32: number;
  readonly x32: number;
  readonly sx32: number;
  readonly i64: bigint;
  readonly u64: bigint;
  readonly s64: bigint;
  readonly x64: bigint;
  readonly sx64: bigint;
  readonly b: boolean;
  readonly text: string;
  readonly raw: Uint8Array;
  readonly many: readonly number[];
  readonly wides: readonly bigint[];
  readonly names: readonly string[];
  readonly table: ReadonlyMap<string, bigint>;
  readonly maybe: number | undefined;
  readonly left: string | undefined;
  readonly right: number | undefined;
}

const Everything = message<Everything>('test.Everything', () => [
  field(1, 'd', 'double'),
  field(2, 'f', 'float'),
  field(3, 'i32', 'int32'),
  field(4, 'u32', 'uint32'),
  field(5, 's32', 'sint32'),
  field(6, 'x32', 'fixed32'),
  field(7, 'sx32', 'sfixed32'),
  field(8, 'i64', 'int64'),
  field(9, 'u64', 'uint64'),
  field(10, 's64', 'sint64'),
  field(11, 'x64', 'fixed64'),
  field(12, 'sx64', 'sfixed64'),
  field(13, 'b', 'bool'),
  field(14, 'text', 'string'),
  field(15, 'raw', 'bytes'),
  repeated(16, 'many', 'sint32'),
  repeated(17, 'wides', 'uint64'),
  repeated(18, 'names', 'string'),
  map(19, 'table', 'string', 'uint64'),
  optional(20, 'maybe', 'uint32'),
  field(21, 'left', 'string', 'side'),
  field(22, 'right', 'uint32', 'side'),
]);

const { root } = protobuf.parse(`
  syntax = "proto3"; package test;
  message Everything {
    double d = 1; float f = 2; int32 i32 = 3; uint32 u32 = 4; sint32 s32 = 5; fixed32 x32 = 6; sfixed32 sx32 = 7;
    int64 i64 = 8; uint64 u64 = 9; sint64 s64 = 10; fixed64 x64 = 11; sfixed64 sx64 = 12; bool b = 13; string text = 14;
    bytes raw = 15; repeated sint32 many = 16; repeated uint64 wides = 17; repeated string names = 18;
    map<string, uint64> table = 19; optional uint32 maybe = 20; oneof side { string left = 21; uint32 right = 22; }
  }`);
const Reference = root.lookupType('test.Everything');

const WIDE = [0n, 1n, 127n, 128n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n - 1n];

describe('the codec and protobufjs', () => {
  const samples = [
    {},
    {
      d: -0,
      f: 1.5,
      i32: -1,
      u32: 4294967295,
      s32: -2147483648,
      x32: 7,
      sx32: -7,
      b: true,
      text: 'é€😀\u0000',
      raw: unhex('00ff'),
    },
    { many: [0, -1, 1, 2147483647], wides: WIDE, names: ['', 'a'.repeat(300)], maybe: 0, left: '' },
    { i64: -(2n ** 63n), u64: 2n ** 64n - 1n, s64: -(2n ** 63n), x64: 2n ** 64n - 1n, sx64: -1n, right: 0 },
  ];
  for (const [index, sample] of samples.entries()) {
    it(`write the same bytes for sample ${index}`, () => {
      const longs = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? value.toString() : value);
      const plain = JSON.parse(JSON.stringify(sample, longs)) as Record<string, unknown>;
      if ('raw' in sample) plain.raw = sample.raw;
      if ('d' in sample) plain.d = sample.d;
      const theirs = Reference.encode(Reference.fromObject(plain)).finish();
      expect(hex(Everything.encode(sample))).toBe(hex(theirs));
      expect(Everything.decode(theirs)).toEqual(Everything.create(sample));
    });
  }

  it('agree on maps', () => {
    const bytes = Everything.encode({
      table: new Map([
        ['a', 2n ** 64n - 1n],
        ['', 0n],
      ]),
    });
    expect(Reference.toObject(Reference.decode(bytes), { longs: String })).toEqual({
      table: { a: '18446744073709551615', '': '0' },
    });
  });

  it('agree on every message of the agent, filled with samples', async () => {
    const agentRoot = await protobuf.load(join(import.meta.dirname, '../../../../agent/protocol/proto/agent.proto'));
    const codecs = Object.fromEntries(Object.entries(agent).filter(([name]) => name !== 'Agent'));
    const names = Object.keys(codecs);
    expect(names.length).toBeGreaterThan(40);
    for (const name of names) {
      const type = agentRoot.lookupType(`tskata.agent.v1.${name}`);
      const theirs = type.encode(type.fromObject(sampleOf(type, 0))).finish();
      const codec = codecs[name] as MessageType<never>;
      expect(`${name} ${hex(codec.encode(codec.decode(theirs)))}`).toBe(`${name} ${hex(theirs)}`);
    }
  });
});

/** A value for every field of a type, in the form that protobufjs takes. */
function sampleOf(type: protobuf.Type, depth: number): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const entry of type.fieldsArray) {
    entry.resolve();
    if (entry.partOf && Object.keys(result).some((name) => entry.partOf?.oneof.includes(name))) continue;
    const resolved = entry.resolvedType;
    let value: unknown =
      resolved instanceof protobuf.Type ? (depth > 6 ? {} : sampleOf(resolved, depth + 1)) : scalarSample(entry.type);
    if (entry instanceof protobuf.MapField) value = { ['k'.repeat(entry.id)]: value };
    else if (entry.repeated) value = [value, value];
    result[entry.name] = value;
  }
  return result;
}

function scalarSample(type: string): unknown {
  if (type === 'string') return 'väl';
  if (type === 'bytes') return unhex('0001fe');
  if (type === 'bool') return true;
  if (type === 'uint64') return '18446744073709551615';
  if (type === 'int64') return '-9223372036854775808';
  return type === 'int32' ? -5 : 4000000000;
}

describe('decoding', () => {
  it('fills in every default', () => {
    expect(Everything.decode(new Uint8Array(0))).toEqual({
      d: 0,
      f: 0,
      i32: 0,
      u32: 0,
      s32: 0,
      x32: 0,
      sx32: 0,
      i64: 0n,
      u64: 0n,
      s64: 0n,
      x64: 0n,
      sx64: 0n,
      b: false,
      text: '',
      raw: new Uint8Array(0),
      many: [],
      wides: [],
      names: [],
      table: new Map(),
      maybe: undefined,
      left: undefined,
      right: undefined,
    });
  });

  it.each([2n ** 53n + 1n, 2n ** 63n - 1n, 2n ** 64n - 1n])('keeps %s exact', (value) => {
    expect(agent.HelloResponse.decode(agent.HelloResponse.encode({ readyNs: value })).readyNs).toBe(value);
  });

  it('takes the last member of a oneof', () => {
    expect(Everything.decode(unhex('aa0101 61 b00105'))).toMatchObject({ left: undefined, right: 5 });
    expect(Everything.decode(unhex('b00105 aa0101 61'))).toMatchObject({ left: 'a', right: undefined });
  });

  it('reads repeated numbers packed and unpacked, and mixed', () => {
    expect(Everything.decode(unhex('820101 02 8001 04 820102 06 08')).many).toEqual([1, 2, 3, 4]);
  });

  it('merges a message that comes twice', () => {
    const [first, second] = [
      StateResponse.encode({ exitedAt: { seconds: 5 } }),
      StateResponse.encode({ exitedAt: { nanos: 6 } }),
    ];
    expect(StateResponse.decode(Buffer.concat([first, second])).exitedAt).toEqual({ seconds: 5n, nanos: 6 });
  });

  it('skips unknown fields and known ones of another wire type', () => {
    expect(
      Everything.decode(unhex('f80701 f90701020304 05060708 fa0703 616263 fd0701020304 2005 18 ff01')),
    ).toMatchObject({ u32: 5, i32: 255 });
    expect(Everything.decode(unhex('2201 61 2005')).u32).toBe(5);
  });

  it('makes nothing of keys that the language knows', () => {
    const keys = ['__proto__', 'constructor', 'hasOwnProperty', 'toString'];
    const bytes = agent.CreateSandboxRequest.encode({ sysctls: new Map(keys.map((key) => [key, 'x'])) });
    const { sysctls } = agent.CreateSandboxRequest.decode(bytes);
    expect([...sysctls.keys()]).toEqual(keys);
    expect(({} as Record<string, unknown>).x).toBeUndefined();
    expect(Object.getPrototypeOf(sysctls)).toBe(Map.prototype);
  });

  it('does not keep the input', () => {
    const bytes = agent.ReseedRequest.encode({ entropy: unhex('0102') });
    const decoded = agent.ReseedRequest.decode(bytes);
    bytes.fill(0);
    expect(hex(decoded.entropy)).toBe('0102');
  });

  it('replaces what is not UTF-8, and keeps a byte order mark', () => {
    expect(Everything.decode(unhex('7204 61ff62c3')).text).toBe('a\ufffdb\ufffd');
    expect(Everything.decode(unhex('7203 efbbbf')).text).toBe('\ufeff');
  });

  it.each([
    ['a length beyond the end', '7205 61'],
    ['a varint that does not end', '08ff'],
    ['a varint of 11 bytes', '20 8080808080808080808001'],
    ['field number 0', '0001'],
    ['a group', '0b'],
    ['a fixed word that is cut', '3501'],
    ['a packed run beyond the end', '8201 05 02'],
  ])('refuses %s', (_name, bytes) => {
    expect(() => Everything.decode(unhex(bytes))).toThrow(TskataError);
  });

  it('bounds nesting and elements', () => {
    const Loop: ReturnType<typeof message<{ readonly next: unknown }>> = message('test.Loop', () => [
      field(1, 'next', Loop as never),
    ]);
    let nested = new Uint8Array(0);
    for (let depth = 0; depth < 20; depth++) nested = new Uint8Array([0x0a, nested.length, ...nested]);
    expect(() => Loop.decode(nested)).not.toThrow();
    for (let depth = 0; depth < 20; depth++) nested = new Uint8Array([0x0a, nested.length, ...nested]);
    expect(() => Loop.decode(nested)).toThrow(/nested/);
    const bomb = new Uint8Array(4 * MAX_MESSAGE_ELEMENTS);
    for (let index = 0; index < bomb.length; index += 2) bomb[index] = 0x0a;
    expect(() => agent.NextEventsResponse.decode(bomb)).toThrow(/elements/);
  });
});

describe('encoding', () => {
  it.each([
    ['a fraction', { u32: 1.5 }],
    ['a negative unsigned', { u32: -1 }],
    ['a number of 33 bits', { i32: 2 ** 31 }],
    ['an unsafe number for 64 bits', { u64: 2 ** 53 }],
    ['65 bits', { u64: 2n ** 64n }],
    ['a negative for unsigned 64 bits', { u64: -1n }],
    ['a string for a number', { i32: '1' as never }],
    ['a number for a string', { text: 1 as never }],
  ])('refuses %s', (_name, value) => {
    expect(() => Everything.encode(value)).toThrow(/does not fit/);
  });

  it('never shows a string that it refuses', () => {
    expect(() => Everything.encode({ raw: 'secret' as never })).toThrow(/^((?!secret).)*$/s);
  });

  it('takes safe numbers for 64 bits', () => {
    expect(Everything.decode(Everything.encode({ i64: -5, u64: 2 ** 53 - 1 }))).toMatchObject({
      i64: -5n,
      u64: 2n ** 53n - 1n,
    });
  });

  it('writes long nested messages with the right length', () => {
    for (const size of [1, 120, 127, 128, 129, 16_380, 16_384, 70_000]) {
      const sent = { spec: { process: { args: ['x'.repeat(size)] } }, containerId: 'c' };
      expect(
        agent.CreateContainerRequest.decode(agent.CreateContainerRequest.encode(sent)).spec?.process?.args[0]?.length,
      ).toBe(size);
    }
  });
});

describe("containerd's messages", () => {
  it('have containerd’s bytes', () => {
    // Written by hand from the field numbers of the published API.
    const exit = TaskExit.encode({
      containerId: 'c',
      id: 'e',
      pid: 300,
      exitStatus: 137,
      exitedAt: { seconds: 1, nanos: 2 },
    });
    expect(hex(exit)).toBe('0a0163' + '120165' + '18ac02' + '208901' + '2a0408011002');
    expect(hex(StateResponse.encode({ id: 'c', pid: 1, status: 2, execId: 'x' }))).toBe(
      '0a0163' + '1801' + '2002' + '5a0178',
    );
    expect(hex(Metrics.encode({ memory: { usage: 1 }, memoryEvents: { oomKill: 1 } }))).toBe('2203800201' + '42022801');
  });
  it('name themselves as type URLs', () => {
    expect(TaskExit.typeName).toBe('containerd.events.TaskExit');
    expect(Metrics.typeName).toBe('io.containerd.cgroups.v2.Metrics');
  });
});
