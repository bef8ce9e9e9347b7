/**
 * Runs host programs to their end: the one importer of execa. It knows no program; long-lived ones belong to the
 * native helper.
 */
import type { ChildProcess } from 'node:child_process';
import { basename } from 'node:path';
import { ExecaError, execa } from 'execa';
import { Code, TskataError } from '../../agent/protocol/errors.ts';

/** How to run a program. */
export interface RunOptions {
  /** The program is killed after this time. */
  readonly timeoutMs: number;
  /** "/" if left out: whoever starts us may stand where the user that runs a program may not go. */
  readonly cwd?: string;
  /** What the program is told that it is called; its path if left out. */
  readonly name?: string;
  /** Added to this process's own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** All of its environment. */
  readonly exactEnv?: Readonly<Record<string, string>>;
  readonly input?: Uint8Array | string;
  /** Bytes of output that are kept; more is an error. */
  readonly maxOutputBytes?: number;
  readonly signal?: AbortSignal;
}

/** What a program wrote. */
export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
}

const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
const ERROR_LINES = 5;
/** What a program wrote before its end is read in this time. */
const HELD_PIPE_MS = 1_000;

/**
 * Runs a program until it ends with status 0.
 * @throws TskataError naming the program, how it ended and its last words on standard error.
 */
export async function run(program: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  try {
    const child = execa(program, args, {
      timeout: options.timeoutMs,
      killSignal: 'SIGKILL',
      stdin: options.input === undefined ? 'ignore' : 'pipe',
      maxBuffer: options.maxOutputBytes ?? MAX_OUTPUT_BYTES,
      cwd: options.cwd ?? '/',
      ...(options.name === undefined ? {} : { argv0: options.name }),
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.exactEnv === undefined ? {} : { env: options.exactEnv, extendEnv: false }),
      ...(options.input === undefined ? {} : { input: options.input }),
      ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
    });
    leaveHeldPipes(child.nodeChildProcess);
    const { stdout, stderr } = await child;
    return { stdout, stderr };
  } catch (caught) {
    throw failure(program, options, caught);
  }
}

/** What a program started may live on with its pipes: neither its end nor its deadline waits for that. */
function leaveHeldPipes(child: ChildProcess): void {
  child.once('exit', () => {
    const timer = setTimeout(() => {
      child.stdout?.destroy();
      child.stderr?.destroy();
    }, HELD_PIPE_MS);
    child.once('close', () => clearTimeout(timer));
  });
}

/** As `run`, for a program whose standard output is bytes that matter exactly. */
export async function runBytes(program: string, args: readonly string[], options: RunOptions): Promise<Uint8Array> {
  try {
    const child = execa(program, args, {
      timeout: options.timeoutMs,
      killSignal: 'SIGKILL',
      stdin: 'ignore',
      cwd: options.cwd ?? '/',
      encoding: 'buffer',
      stripFinalNewline: false,
      maxBuffer: options.maxOutputBytes ?? MAX_OUTPUT_BYTES,
      ...(options.env === undefined ? {} : { env: options.env }),
      ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
    });
    leaveHeldPipes(child.nodeChildProcess);
    return (await child).stdout;
  } catch (caught) {
    throw failure(program, options, caught);
  }
}

function failure(program: string, options: RunOptions, caught: unknown): TskataError {
  if (!(caught instanceof ExecaError)) return TskataError.from(caught);
  const name = basename(program);
  const words = textOf(caught.stderr).trim().split('\n').slice(-ERROR_LINES).join('; ');
  const said = words === '' ? '' : `: ${words}`;
  if (caught.code === 'ENOENT')
    return new TskataError(Code.NotFound, `run ${name}: ${program} is not installed`, caught);
  if (caught.timedOut)
    return new TskataError(Code.DeadlineExceeded, `run ${name}: no end within ${options.timeoutMs} ms${said}`, caught);
  if (caught.isCanceled) return new TskataError(Code.Canceled, `run ${name}: given up`, caught);
  if (caught.exitCode === undefined && caught.signal === undefined) {
    const fact = `cannot be started in ${options.cwd ?? '/'}: ${caught.code ?? caught.originalMessage}`;
    return new TskataError(Code.FailedPrecondition, `run ${name}: ${program} ${fact}`, caught);
  }
  const how = caught.signal === undefined ? `ended with status ${caught.exitCode}` : `killed by ${caught.signal}`;
  return new TskataError(Code.Unknown, `run ${name}: ${how}${said}`, caught);
}

function textOf(output: unknown): string {
  return output instanceof Uint8Array ? new TextDecoder().decode(output) : `${output ?? ''}`;
}
