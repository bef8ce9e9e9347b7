/**
 * Owns the way from a TypeScript entry to one static native program: bundle, bytecode, link. Two programs share the
 * engine's objects, and nothing is done twice: every result is cached by the hash of its inputs.
 */
import { chmod, copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';
import { cached, hashOf } from './engine/cache.ts';
import { engineObjects, linkKey, linkProgram } from './engine/compile.ts';
import { runTool } from './engine/run.ts';

/** What to build. */
export interface NativeProgram {
  /** Name in stack traces: "tskata-agent". */
  readonly name: string;
  /** TypeScript file whose evaluation is the program. It must not need Node. */
  readonly entry: string;
  readonly outFile: string;
}

/** What was built. */
export interface NativeBuild {
  readonly outFile: string;
  /** Size of the program in bytes. */
  readonly bytes: number;
}

async function bundle(entry: string): Promise<string> {
  const result = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    platform: 'neutral',
    mainFields: ['module', 'main'],
    format: 'iife',
    // The engine speaks ES2020.
    target: 'es2020',
    // It also has these of later years. Lowered, each use of a private field would be a call and a look-up in a WeakMap.
    supported: {
      'class-field': true,
      'class-static-field': true,
      'class-private-field': true,
      'class-private-method': true,
      'class-private-accessor': true,
    },
    // Names stay: stack traces must be readable.
    minifySyntax: true,
    legalComments: 'none',
    charset: 'utf8',
    logLevel: 'warning',
    define: { TSKATA_VERSION: JSON.stringify(await packageVersion()) },
  });
  const [output] = result.outputFiles;
  if (output === undefined) throw new Error(`build ${entry}: the bundler gave no output`);
  return output.text;
}

async function packageVersion(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, '../package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** Puts `source` at `target` at once, so that a running program keeps its old file. */
async function place(source: string, target: string): Promise<number> {
  const bytes = await readFile(source);
  const old = await readFile(target).catch(() => undefined);
  if (old?.equals(bytes)) return bytes.length;
  await mkdir(dirname(target), { recursive: true });
  const temporary = `${target}.${process.pid}.new`;
  await copyFile(source, temporary);
  await chmod(temporary, 0o755);
  await rename(temporary, target);
  return bytes.length;
}

/** Builds one native program. */
export async function buildNative(program: NativeProgram): Promise<NativeBuild> {
  const [script, engine, link] = await Promise.all([bundle(program.entry), engineObjects(), linkKey()]);
  const directory = await cached('native', hashOf([engine.key, link, program.name, script]), async (temporary) => {
    const source = join(temporary, 'program.js');
    const bytecode = join(temporary, 'program.bin');
    await writeFile(source, script);
    await runTool(engine.bytecodeCompiler, [source, `${program.name}.js`, bytecode]);
    await linkProgram(engine, bytecode, temporary, join(temporary, 'program'));
  });
  return { outFile: program.outFile, bytes: await place(join(directory, 'program'), program.outFile) };
}
