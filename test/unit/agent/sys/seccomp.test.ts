/** Compiled filters do what their rules say: every call number is run through an interpreter of the instructions. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildNative } from '../../../../agent/build.ts';
import { translateSeccomp } from '../../../../agent/container/plan/seccomp.ts';
import type { Seccomp } from '../../../../agent/container/spec.ts';
import { E } from '../../../../agent/sys/errno.ts';
import { SCMP_ACT, SCMP_CMP } from '../../../../agent/sys/linux.ts';
import type { SeccompRule, SeccompSource } from '../../../../agent/sys/sys.ts';
import { SYS } from '../../../../agent/sys/syscalls.ts';
import { defaultSeccomp } from '../../../../runtime/oci/default-seccomp.ts';

const run = promisify(execFile);
const ERRNO = 0x00050000;
const ARCH_X86_64 = 0xc000003e;
const ARCH_I386 = 0x40000003;
const ARCH_AARCH64 = 0xc00000b7;
let directory = '';
let program = '';

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tskata-seccomp-'));
  program = join(directory, 'cases');
  await buildNative({ name: 'cases', entry: join(import.meta.dirname, 'fixtures/main.ts'), outFile: program });
}, 600_000);

afterAll(() => rm(directory, { recursive: true, force: true }));

async function compile(source: SeccompSource): Promise<DataView> {
  const path = join(directory, 'source.json');
  await writeFile(
    path,
    JSON.stringify(source, (_key, value) => (typeof value === 'bigint' ? `${value}` : value)),
  );
  const { stderr } = await run(program, ['seccomp file', path], { timeout: 60_000, maxBuffer: 1 << 26 });
  const { result } = JSON.parse(stderr) as { result: { filter: number[] } };
  return new DataView(Uint8Array.from(result.filter).buffer);
}

/** What the kernel would answer: classic BPF on struct seccomp_data. */
function evaluate(filter: DataView, arch: number, nr: number, args: readonly bigint[] = []): number {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, nr, true);
  data.setUint32(4, arch, true);
  args.forEach((value, index) => {
    data.setBigUint64(16 + index * 8, value, true);
  });
  let accumulator = 0;
  for (let at = 0; at < filter.byteLength / 8; at++) {
    const code = filter.getUint16(at * 8, true);
    const k = filter.getUint32(at * 8 + 4, true);
    const branch = (taken: boolean): void => {
      at += filter.getUint8(at * 8 + (taken ? 2 : 3));
    };
    if (code === 0x20) accumulator = data.getUint32(k, true);
    else if (code === 0x54) accumulator = (accumulator & k) >>> 0;
    else if (code === 0x05) at += k;
    else if (code === 0x15) branch(accumulator === k);
    else if (code === 0x25) branch(accumulator > k);
    else if (code === 0x35) branch(accumulator >= k);
    else if (code === 0x06) return k;
    else throw new Error(`instruction 0x${code.toString(16)} is not expected`);
  }
  throw new Error('the filter has no end');
}

/** The profile of a container that asks for none, as the agent gets it. */
function defaultSource(runs32Bit: boolean): SeccompSource {
  const { defaultAction, defaultErrnoRet, architectures, flags, syscalls } = defaultSeccomp([]);
  const seccomp: Seccomp = {
    defaultAction,
    ...(defaultErrnoRet === undefined ? {} : { defaultErrno: defaultErrnoRet }),
    architectures: architectures ?? [],
    flags: flags ?? [],
    syscalls: (syscalls ?? []).map(({ names, action, errnoRet, args }) => ({
      names,
      action,
      ...(errnoRet === undefined ? {} : { errno: errnoRet }),
      args: (args ?? []).map(({ index, value, valueTwo, op }) => ({
        index,
        value: BigInt(value),
        valueTwo: BigInt(valueTwo ?? 0),
        op,
      })),
    })),
  };
  return translateSeccomp(seccomp, runs32Bit).source;
}

function rule(names: string[], action: number, ...args: [number, number, bigint, bigint?][]): SeccompRule {
  return { names, action, args: args.map(([index, op, value, valueTwo = 0n]) => ({ index, op, value, valueTwo })) };
}

test('the default profile answers every call as its rules say', async () => {
  const source = defaultSource(true);
  const filter = await compile(source);
  const unconditional = new Map<string, number>();
  const conditional = new Set<string>();
  for (const { names, action, args } of source.rules) {
    for (const name of names) {
      if (args.length === 0) unconditional.set(name, action);
      else conditional.add(name);
    }
  }
  let checked = 0;
  for (const [name, nr] of Object.entries(SYS)) {
    if (conditional.has(name)) continue;
    expect([name, evaluate(filter, ARCH_X86_64, nr)]).toEqual([name, unconditional.get(name) ?? source.defaultAction]);
    checked++;
  }
  expect(checked).toBeGreaterThan(180);
  // Of another architecture: never allowed, whatever the number.
  expect(evaluate(filter, ARCH_AARCH64, SYS.write)).not.toBe(SCMP_ACT.ALLOW);
  // 32-bit programs: write is 4, mount is 21.
  expect(evaluate(filter, ARCH_I386, 4)).toBe(SCMP_ACT.ALLOW);
  expect(evaluate(filter, ARCH_I386, 21)).toBe(source.defaultAction);
  expect(evaluate(filter, ARCH_X86_64, 463)).toBe(ERRNO | E.ENOSYS);
});

test('on a kernel without 32-bit calls only the native ones are filtered', async () => {
  const filter = await compile(defaultSource(false));
  expect(evaluate(filter, ARCH_X86_64, SYS.write)).toBe(SCMP_ACT.ALLOW);
  expect(evaluate(filter, ARCH_I386, 4)).not.toBe(SCMP_ACT.ALLOW);
});

test('comparisons look at all 64 bits', async () => {
  const big = 2n ** 32n + 5n;
  const filter = await compile({
    defaultAction: SCMP_ACT.ALLOW,
    architectures: [],
    rules: [
      rule(['personality'], ERRNO | 1, [0, SCMP_CMP.EQ, big]),
      rule(['umask'], ERRNO | 2, [0, SCMP_CMP.GT, big]),
      rule(['clone'], ERRNO | 3, [0, SCMP_CMP.MASKED_EQ, 0x7e020000n, 0x10000000n]),
      rule(['kill'], ERRNO | 4, [0, SCMP_CMP.NE, 7n], [1, SCMP_CMP.LT, 9n]),
    ],
  });
  const answer = (nr: number, ...args: bigint[]): number => evaluate(filter, ARCH_X86_64, nr, args);
  expect(answer(SYS.personality, big)).toBe(ERRNO | 1);
  expect(answer(SYS.personality, 5n)).toBe(SCMP_ACT.ALLOW);
  expect(answer(SYS.umask, big)).toBe(SCMP_ACT.ALLOW);
  expect(answer(SYS.umask, big + 1n)).toBe(ERRNO | 2);
  expect(answer(SYS.clone, 0x10000011n)).toBe(ERRNO | 3);
  expect(answer(SYS.clone, 0x30000011n)).toBe(SCMP_ACT.ALLOW);
  expect(answer(SYS.kill, 6n, 8n)).toBe(ERRNO | 4);
  expect(answer(SYS.kill, 7n, 8n)).toBe(SCMP_ACT.ALLOW);
  expect(answer(SYS.kill, 6n, 9n)).toBe(SCMP_ACT.ALLOW);
});

test('calls of a later time than the filter get the unknown action', async () => {
  const source = {
    defaultAction: ERRNO | E.EPERM,
    architectures: ['x86', 'x32'],
    rules: [rule(['openat2', 'read'], SCMP_ACT.ALLOW)],
  };
  const filter = await compile({ ...source, unknownAction: ERRNO | E.ENOSYS });
  const answer = (nr: number): number => evaluate(filter, ARCH_X86_64, nr);
  expect(answer(SYS.openat2)).toBe(SCMP_ACT.ALLOW);
  expect(answer(SYS.mount)).toBe(ERRNO | E.EPERM);
  expect(answer(SYS.openat2 + 1)).toBe(ERRNO | E.ENOSYS);
  expect(answer(452)).toBe(ERRNO | E.ENOSYS);
  // x32 numbers have a flag bit; they are the filter's business.
  expect(answer(0x40000000)).toBe(SCMP_ACT.ALLOW);
  expect(answer(0x40000000 + SYS.mount)).toBe(ERRNO | E.EPERM);
  expect(evaluate(await compile(source), ARCH_X86_64, 452)).toBe(ERRNO | E.EPERM);
});
