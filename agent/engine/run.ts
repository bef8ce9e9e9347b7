/**
 * Owns the start of the build's tools (compiler, packer): one call that returns what they printed or throws what they
 * complained about.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** stdout of a finished program. Throws with its stderr when it fails or is not there. */
export async function runTool(program: string, args: readonly string[], cwd?: string): Promise<string> {
  try {
    const { stdout } = await run(program, [...args], { maxBuffer: 64 << 20, ...(cwd === undefined ? {} : { cwd }) });
    return stdout;
  } catch (error) {
    const failure = error as { code?: string | number; stderr?: string };
    if (failure.code === 'ENOENT') throw new Error(`build: ${program} is not installed`);
    const command = [program, ...args].join(' ');
    throw new Error(`build: ${command.slice(0, 400)}: exit ${failure.code}\n${(failure.stderr ?? '').slice(0, 20000)}`);
  }
}
