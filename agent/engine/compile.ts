/**
 * Owns how C becomes objects and objects become a program: the hardening flags, the engine's objects (compiled once for
 * all programs), the native layer's objects, the bytecode compiler. Knows nothing of what a program does.
 */
import { readdir, readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { cached, hashOf } from './cache.ts';
import { runTool } from './run.ts';
import { engineSource, SOURCE_INTEGRITY } from './source.ts';

const CC = 'gcc';
const NATIVE = join(import.meta.dirname, '../native');
const COMPILER_SOURCE = join(import.meta.dirname, 'compile.c');

/** Position-independent, stack and libc calls checked, indirect branches marked, one section per function. */
const FLAGS = [
  '-std=gnu11',
  '-O2',
  '-fPIE',
  '-fstack-protector-strong',
  '-fstack-clash-protection',
  '-fcf-protection=full',
  '-U_FORTIFY_SOURCE',
  '-D_FORTIFY_SOURCE=2',
  '-fno-strict-overflow',
  '-fno-delete-null-pointer-checks',
  '-ffunction-sections',
  '-fdata-sections',
  '-D_GNU_SOURCE',
  // BigInt: 64-bit fields of messages are exact.
  '-DCONFIG_BIGNUM',
];
/** The engine is written for two's complement arithmetic; its warnings are not ours to mend. */
const ENGINE_FLAGS = ['-fwrapv', '-w', '-DCONFIG_VERSION="2021-03-27"'];
/** What the source directory is called in the program. */
const SOURCE_NAME = 'quickjs';
const NATIVE_FLAGS = ['-Wall', '-Wextra', '-Werror'];
/** Without the engine's own libc module: the native layer replaces it. */
const ENGINE_FILES = ['quickjs', 'libregexp', 'libunicode', 'libbf', 'cutils'];
/** Relocations are done and made read-only before main; what no one calls is dropped. */
const LINK_FLAGS = [
  // program.S: before the C library's own start.
  '-Wl,-e,tskata_entry',
  '-static-pie',
  '-Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code',
  '-Wl,--gc-sections,--build-id=none,--as-needed',
  '-s',
];

/** Static libraries: the C library's own come with the compiler. */
const LIBRARIES = ['seccomp', 'm', 'c'];

/** Objects that every program is linked from. */
export interface EngineObjects {
  /** Hash of everything that went into them. */
  readonly key: string;
  readonly objects: readonly string[];
  /** Program of the build: script, name in stack traces, output file. */
  readonly bytecodeCompiler: string;
}

async function compileAll(
  files: readonly { source: string; object: string }[],
  flags: readonly string[],
): Promise<void> {
  const waiting = [...files];
  const worker = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      await runTool(CC, [...FLAGS, ...flags, '-c', file.source, '-o', file.object]);
    }
  };
  await Promise.all(Array.from({ length: Math.min(availableParallelism(), files.length) }, worker));
}

/** Compiles the engine and the native layer, or finds them in the cache. */
export async function engineObjects(): Promise<EngineObjects> {
  const compilerVersion = await runTool(CC, ['--version']);
  const engineKey = hashOf([
    SOURCE_INTEGRITY,
    compilerVersion,
    ...FLAGS,
    ...ENGINE_FLAGS,
    ...ENGINE_FILES,
    SOURCE_NAME,
  ]);
  const engine = await cached('engine', engineKey, async (directory) => {
    const source = await engineSource();
    const files = ENGINE_FILES.map((name) => ({
      source: join(source, `${name}.c`),
      object: join(directory, `${name}.o`),
    }));
    // Assertions name their file: not by where it lies on this machine.
    await compileAll(files, [...ENGINE_FLAGS, `-ffile-prefix-map=${source}=${SOURCE_NAME}`]);
  });
  const names = (await readdir(NATIVE)).filter((name) => name.endsWith('.c') || name.endsWith('.h')).sort();
  const texts = await Promise.all(
    [...names.map((name) => join(NATIVE, name)), COMPILER_SOURCE].map((path) => readFile(path)),
  );
  const key = hashOf([engineKey, ...NATIVE_FLAGS, ...names, ...texts]);
  const units = names.filter((name) => name.endsWith('.c')).map((name) => name.slice(0, -2));
  const enginePaths = ENGINE_FILES.map((name) => join(engine, `${name}.o`));
  const native = await cached('native-objects', key, async (directory) => {
    const source = await engineSource();
    const files = units.map((name) => ({ source: join(NATIVE, `${name}.c`), object: join(directory, `${name}.o`) }));
    const compiler = join(directory, 'compile.o');
    await compileAll([...files, { source: COMPILER_SOURCE, object: compiler }], [...NATIVE_FLAGS, '-isystem', source]);
    await runTool(CC, ['-o', join(directory, 'compile'), compiler, ...enginePaths, '-lm']);
  });
  return {
    key,
    objects: [...units.map((name) => join(native, `${name}.o`)), ...enginePaths],
    bytecodeCompiler: join(native, 'compile'),
  };
}

/** Links one program around its bytecode. Both intermediate files stay in `directory`. */
export async function linkProgram(
  engine: EngineObjects,
  bytecode: string,
  directory: string,
  outFile: string,
): Promise<void> {
  const embedded = join(directory, 'program.o');
  await runTool(CC, ['-c', '-fPIE', `-DPROGRAM_FILE="${bytecode}"`, join(NATIVE, 'program.S'), '-o', embedded]);
  await runTool(CC, [
    ...LINK_FLAGS,
    '-o',
    outFile,
    embedded,
    ...engine.objects,
    ...LIBRARIES.map((name) => `-l${name}`),
  ]);
}

/** Hash of what linking adds to the objects: an updated library means a new program. */
export async function linkKey(): Promise<string> {
  const libraries = await Promise.all(
    LIBRARIES.map(async (name) => (await runTool(CC, [`-print-file-name=lib${name}.a`])).trim()),
  );
  const files = [join(NATIVE, 'program.S'), ...libraries];
  const contents = await Promise.all(files.map((path) => readFile(path).catch(() => missing(path))));
  return hashOf([...LINK_FLAGS, ...contents]);
}

function missing(path: string): never {
  throw new Error(`link a native program: ${path} is missing - install the development package of this library`);
}
