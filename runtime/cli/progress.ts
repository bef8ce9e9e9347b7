/**
 * Owns how a pull is shown: bars on a terminal, a line per step otherwise. The one importer of cli-progress. It knows
 * nothing of images but the form of their progress.
 */
import { Presets, SingleBar } from 'cli-progress';
import type { ImageProgress, OnProgress } from '../image/progress.ts';

const MIB = 1024 * 1024;
const WORDS: Readonly<Record<ImageProgress['phase'], string>> = {
  resolve: 'looking up',
  download: 'downloading',
  verify: 'checking',
  convert: 'converting',
  done: 'ready',
};

/** Something that shows progress until it is stopped. */
export interface ShownProgress {
  readonly show: OnProgress;
  stop(): void;
}

/** Progress on a stream: drawn when it is a terminal, written line by line when it is not. */
export function pullProgress(stream: NodeJS.WriteStream): ShownProgress {
  return stream.isTTY ? bars(stream) : lines(stream);
}

function lines(stream: NodeJS.WritableStream): ShownProgress {
  let phase = '';
  return {
    show: (progress) => {
      if (progress.phase === phase) return;
      phase = progress.phase;
      const size = progress.phase === 'download' && progress.total > 0 ? ` (${mib(progress.total)} MiB)` : '';
      stream.write(`${WORDS[progress.phase]} ${progress.what}${size}\n`);
    },
    stop: () => {},
  };
}

function bars(stream: NodeJS.WriteStream): ShownProgress {
  let bar: SingleBar | undefined;
  let phase = '';
  const stop = (): void => {
    bar?.stop();
    bar = undefined;
  };
  return {
    show: (progress) => {
      if (progress.phase !== phase) {
        stop();
        phase = progress.phase;
        if (phase === 'resolve' || phase === 'done') {
          stream.write(`${WORDS[progress.phase]} ${progress.what}\n`);
          return;
        }
        const unit = phase === 'convert' ? 'layers' : 'MiB';
        bar = new SingleBar(
          {
            format: `${WORDS[progress.phase].padEnd(11)} {bar} {percentage}% {shown}/{of} ${unit}`,
            stream,
            // It would stay hidden when a signal ends the command.
            hideCursor: false,
            clearOnComplete: false,
            gracefulExit: false,
          },
          Presets.shades_classic,
        );
        bar.start(Math.max(progress.total, 1), 0, numbers(progress));
      }
      bar?.update(progress.done, numbers(progress));
    },
    stop,
  };
}

function numbers(progress: ImageProgress): { shown: string; of: string } {
  if (progress.phase === 'convert') return { shown: `${progress.done}`, of: `${progress.total}` };
  return { shown: mib(progress.done), of: progress.total === 0 ? '?' : mib(progress.total) };
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(1);
}
