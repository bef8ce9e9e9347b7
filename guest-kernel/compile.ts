/**
 * Owns: the steps from the source archive to kernel images in a folder.
 * Refuses to know: caches and locks.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { availableParallelism, constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describeLostOptions, findLostOptions, findModules, parseConfig, toKconfig } from './fragment.ts';
import type { KernelInputs, KernelPatch } from './inputs.ts';
import type { Progress } from './progress.ts';

/** The contract with those who ship and load the image. */
export const MAX_BZIMAGE_BYTES = 8_000_000;
/** Lines that a build of the present fragments prints; only the progress display depends on it. */
const EXPECTED_STEPS = 2_280;
const BUILD_TIMEOUT_MS = 3 * 3_600_000;
const STEP_TIMEOUT_MS = 15 * 60_000;
/** Kept of the output of a step, to be quoted when it fails. */
const MAX_QUOTED_LINES = 30;

/** File names in a folder of results. */
export const RESULT_FILES = {
  bzImage: 'bzImage',
  vmlinux: 'vmlinux',
  config: 'config',
  symbols: 'System.map',
  record: 'build.json',
} as const;

/** What `build.json` says about a result. */
export type BuildRecord = {
  readonly release: string;
  readonly source: string;
  readonly toolchain: readonly string[];
  readonly bzImageBytes: number;
};

/**
 * Unpacks, configures and compiles in `workFolder`, and leaves the results in `resultFolder`; both are made, and only the first is removed.
 *
 * @throws Error naming every option that did not survive, the step that failed with its last lines, or an image that is too large
 */
export async function compileKernel(
  inputs: KernelInputs,
  workFolder: string,
  resultFolder: string,
  progress: Progress,
): Promise<BuildRecord> {
  const source = join(workFolder, 'source');
  const out = join(workFolder, 'out');
  await Promise.all([source, out, resultFolder].map((folder) => mkdir(folder, { recursive: true })));
  progress.step(`unpacking ${inputs.source.archive}`);
  await run(
    'tar',
    ['--extract', '--file', inputs.source.archive, '--directory', source, '--strip-components=1'],
    workFolder,
  );
  for (const patch of inputs.patches) await applyPatch(patch, source, workFolder);
  await configure(inputs, source, out, progress);
  await compile(source, out, progress);
  const record = await collect(inputs, out, resultFolder);
  await rm(workFolder, { recursive: true, force: true });
  return record;
}

async function applyPatch(patch: KernelPatch, source: string, workFolder: string): Promise<void> {
  const file = join(workFolder, patch.name);
  await writeFile(file, patch.text);
  // no fuzz: a patch that only nearly fits must be looked at, not guessed
  await run(
    'patch',
    ['--strip=1', '--fuzz=0', '--forward', '--batch', '--directory', source, '--input', file],
    workFolder,
  );
}

async function configure(inputs: KernelInputs, source: string, out: string, progress: Progress): Promise<void> {
  progress.step(`configuring: ${inputs.options.length} options over tinyconfig`);
  const fragment = join(out, 'tskata.config');
  await writeFile(fragment, toKconfig(inputs.options));
  await run('make', ['-C', source, `O=${out}`, 'tinyconfig'], out);
  // -m: only merge. Without it the script answers questions itself; its strict mode would drop what follows a redefined option
  await run(join(source, 'scripts/kconfig/merge_config.sh'), ['-m', '-O', out, join(out, '.config'), fragment], out);
  await run('make', ['-C', source, `O=${out}`, 'olddefconfig'], out);
  const config = parseConfig(await readFile(join(out, '.config'), 'utf8'));
  const lost = findLostOptions(inputs.options, config);
  if (lost.length > 0) throw new Error(describeLostOptions(lost));
  const modules = findModules(config);
  if (modules.length > 0) {
    throw new Error(`configure guest kernel: ${modules.join(', ')} would be modules: say y or n in a fragment`);
  }
}

async function compile(source: string, out: string, progress: Progress): Promise<void> {
  const jobs = availableParallelism();
  progress.step(`compiling with ${jobs} jobs; about 10 minutes on two cores`);
  // fixed names and the source's own time: equal inputs give equal images
  const { mtime } = await stat(join(source, 'Makefile'));
  const fixed = [
    'KBUILD_BUILD_USER=tskata',
    'KBUILD_BUILD_HOST=tskata',
    'KBUILD_BUILD_VERSION=1',
    `KBUILD_BUILD_TIMESTAMP=${mtime.toUTCString()}`,
  ];
  let steps = 0;
  await run('make', ['-C', source, `O=${out}`, `-j${jobs}`, ...fixed, 'bzImage'], out, BUILD_TIMEOUT_MS, () => {
    progress.update('compiling', ++steps, EXPECTED_STEPS);
  });
}

async function collect(inputs: KernelInputs, out: string, resultFolder: string): Promise<BuildRecord> {
  const bzImage = join(out, 'arch/x86/boot/bzImage');
  const { size } = await stat(bzImage);
  if (size > MAX_BZIMAGE_BYTES) {
    throw new Error(
      `build guest kernel: bzImage has ${size} bytes, at most ${MAX_BZIMAGE_BYTES} are allowed: take options out of the fragments`,
    );
  }
  // an ELF boot loads every byte that is not stripped
  await run('strip', ['--strip-all', '-o', join(resultFolder, RESULT_FILES.vmlinux), join(out, 'vmlinux')], out);
  await Promise.all([
    copyFile(bzImage, join(resultFolder, RESULT_FILES.bzImage)),
    copyFile(join(out, '.config'), join(resultFolder, RESULT_FILES.config)),
    copyFile(join(out, 'System.map'), join(resultFolder, RESULT_FILES.symbols)),
  ]);
  const release = (await readFile(join(out, 'include/config/kernel.release'), 'utf8')).trim();
  const record: BuildRecord = {
    release,
    source: `linux-source-${inputs.source.series} ${inputs.source.version}`,
    toolchain: inputs.toolchain,
    bzImageBytes: size,
  };
  const path = join(resultFolder, RESULT_FILES.record);
  await writeFile(`${path}.new`, `${JSON.stringify(record, undefined, 2)}\n`);
  await rename(`${path}.new`, path);
  return record;
}

/** Runs one step at low priority; its end, its failure or its deadline settle the promise. */
async function run(
  program: string,
  args: readonly string[],
  cwd: string,
  timeoutMs = STEP_TIMEOUT_MS,
  onLine: (line: string) => void = () => {},
): Promise<void> {
  const subject = `build guest kernel: ${program} ${args.at(-1) ?? ''}`;
  // in our process group: an interrupt typed at a terminal ends make and its children too, and a pipe without reader ends them later
  const child = spawn(program, args, { cwd, env: buildEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'close');
  const last: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      onLine(line);
      if (last.push(line) > MAX_QUOTED_LINES) last.shift();
    });
  }
  if (child.pid !== undefined) lowerPriority(child.pid);
  // make passes a SIGTERM on to its children; it could not pass on a SIGKILL
  const stop = () => child.kill('SIGTERM');
  const timer = setTimeout(stop, timeoutMs);
  process.once('exit', stop);
  const [code, signal]: unknown[] = await ended.catch((cause: unknown) => {
    throw new Error(`${subject}: could not be started: is it installed?`, { cause });
  });
  clearTimeout(timer);
  process.off('exit', stop);
  if (code !== 0)
    throw new Error(
      [`${subject}: ended with ${String(code ?? signal)}`, ...last.map((line) => `  ${line}`)].join('\n'),
    );
}

/** Only what a build needs: a KCFLAGS, ARCH or MAKEFLAGS of the caller would change the result behind the key's back. */
function buildEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, HOME: process.env.HOME, TMPDIR: process.env.TMPDIR, LC_ALL: 'C' };
}

function lowerPriority(pid: number): void {
  try {
    setPriority(pid, constants.priority.PRIORITY_BELOW_NORMAL);
  } catch {
    // it may have ended already; priority is a courtesy
  }
}
