/**
 * Owns the choice of a client's stdio by the scheme of its paths: a FIFO (no scheme, `fifo://`), `file://`, `binary://`.
 * With a log file, output goes there as well. Refuses to know what a process does with it.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { ProcessIo, StdioPaths } from '../../runtime/sandbox/process-io.ts';
import { openLogger } from './binary-logger.ts';
import { openFifoSink, openFifoSource } from './fifo.ts';
import { openFileSink } from './file-sink.ts';
import { LogFile } from './log-file.ts';
import { createProcessIo, type HostEnds } from './process-io.ts';
import { type OutputSink, teeSink } from './sink.ts';

/** What opening needs to know beside the paths. */
export interface OpenIoContext {
  /** For a logger's environment. */
  readonly namespace: string;
  readonly containerId: string;
  /** A copy of the output as JSON lines. */
  readonly logFile?: { readonly path: string; readonly maxBytes: number } | undefined;
}

/** Opens the ends of one process. Throws naming the path; nothing stays open then. */
export function openProcessIo(paths: StdioPaths, context: OpenIoContext): ProcessIo {
  const opened: { close(): void }[] = [];
  const keep = <T extends { close(): void }>(item: T): T => {
    opened.push(item);
    return item;
  };
  try {
    return createProcessIo(openEnds(paths, context, keep));
  } catch (error) {
    for (const item of opened) item.close();
    throw error;
  }
}

function openEnds(
  paths: StdioPaths,
  context: OpenIoContext,
  keep: <T extends { close(): void }>(item: T) => T,
): HostEnds {
  const stdin = paths.stdin === '' ? undefined : keep(openFifoSource(fifoPath(paths.stdin)));
  const output = openOutput(paths, context, keep);
  if (context.logFile === undefined) return { stdin, ...output };
  const log = new LogFile(context.logFile.path, context.logFile.maxBytes);
  keep({ close: () => void log.close() });
  const tee = (name: 'stdout' | 'stderr', sink: OutputSink | undefined): OutputSink =>
    teeSink(sink === undefined ? [log.sink(name)] : [sink, log.sink(name)]);
  return {
    stdin,
    stdout: tee('stdout', output.stdout),
    stderr: paths.terminal ? undefined : tee('stderr', output.stderr),
    onClose: async () => {
      await output.onClose?.();
      await log.close();
    },
  };
}

function openOutput(
  paths: StdioPaths,
  context: OpenIoContext,
  keep: <T extends { close(): void }>(item: T) => T,
): HostEnds {
  const { scheme, path } = parse(paths.stdout);
  const wantsStderr = paths.stderr !== '' && !paths.terminal;
  switch (scheme) {
    case 'file': {
      const sink = keep(openFileSink(path));
      return { stdout: shared(sink), stderr: paths.terminal ? undefined : shared(sink), onClose: sink.close };
    }
    case 'binary': {
      const logger = keep(openLogger(paths.stdout, context));
      return { stdout: logger.stdout, stderr: paths.terminal ? undefined : logger.stderr, onClose: logger.close };
    }
    case 'fifo':
      return {
        stdout: path === '' ? undefined : keep(openFifoSink(path)),
        stderr: wantsStderr ? keep(openFifoSink(fifoPath(paths.stderr))) : undefined,
      };
    default:
      throw new TskataError(Code.Unimplemented, `open output - ${paths.stdout} - scheme '${scheme}' is not supported`);
  }
}

/** Both streams into one file: the first to end must not close it under the other. */
function shared(sink: OutputSink): OutputSink {
  return { write: (bytes) => sink.write(bytes), close: () => undefined };
}

function fifoPath(value: string): string {
  const { scheme, path } = parse(value);
  if (scheme !== 'fifo')
    throw new TskataError(Code.InvalidArgument, `open fifo - ${value} - scheme '${scheme}' is not allowed here`);
  return path;
}

function parse(value: string): { scheme: string; path: string } {
  const match = /^([a-z][a-z0-9+.-]*):\/\//.exec(value);
  if (match === null) return { scheme: 'fifo', path: value };
  return { scheme: match[1] ?? '', path: decodeURIComponent(new URL(value).pathname) };
}
