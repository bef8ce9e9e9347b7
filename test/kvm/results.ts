/**
 * Owns what comes back from the KVM host beside the story of its tests: an archive of files, its terminal and its
 * kernel's words, all in coverage/kvm-host; and the sum of its coverage with that of `npm test`.
 */
import { spawn } from 'node:child_process';
import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { finished } from 'node:stream/promises';

const COVERAGE = join(import.meta.dirname, '../../coverage');
/** Made anew by each run. */
export const RESULTS = join(COVERAGE, 'kvm-host');

/** Unpacks the archive that comes on a port, and writes a log of what comes on another one, until `end`. */
export class Results {
  readonly #tar = spawn('tar', ['-C', RESULTS, '--no-same-owner', '-xf', '-'], { stdio: ['pipe', 'ignore', 'ignore'] });
  readonly #unpacked = new Promise<void>((resolve) => this.#tar.once('close', () => resolve()));
  readonly #logs: WriteStream[] = [];

  /** An empty directory, whatever ran before. */
  static async open(archive: Duplex): Promise<Results> {
    await rm(RESULTS, { recursive: true, force: true });
    await mkdir(RESULTS, { recursive: true });
    return new Results(archive);
  }

  private constructor(archive: Duplex) {
    // A host that ends early sends half an archive, or none: what there is has been unpacked.
    this.#tar.stdin.on('error', () => undefined);
    archive.pipe(this.#tar.stdin);
  }

  /** Keeps all that the stream says. */
  log(name: string, stream: Duplex): void {
    const file = createWriteStream(join(RESULTS, name));
    stream.pipe(file);
    this.#logs.push(file);
  }

  /** After the host's end, however it came: waits until all is on the disk. `kernel`: the kernel's last words. */
  async end(kernel: string): Promise<void> {
    this.#tar.stdin.end();
    await this.#unpacked;
    await Promise.all(this.#logs.map((file) => finished(file.end())));
    await writeFile(join(RESULTS, 'kernel.log'), kernel);
  }
}

/** The part of an Istanbul report that is counted here: how often each statement of each file ran. */
type Report = Readonly<Record<string, { readonly s: Readonly<Record<string, number>> }>>;

/** One sentence on the statements that the tests in the host ran, with those of `npm test` when it has left a report. */
export async function describeCoverage(): Promise<string> {
  const inside = await readReport(join(RESULTS, 'coverage/coverage-final.json'));
  if (inside === undefined) return 'no coverage came back';
  const outside = await readReport(join(COVERAGE, 'coverage-final.json'));
  const own = `${countRun([inside])} statements ran in ${Object.keys(inside).length} files`;
  if (outside === undefined) return own;
  const total = Object.values(outside).reduce((sum, file) => sum + Object.keys(file.s).length, 0);
  const percent = (count: number): string => `${((100 * count) / total).toFixed(1)} %`;
  return `${own}; npm test alone ${percent(countRun([outside]))}, with them ${percent(countRun([outside, inside]))}`;
}

async function readReport(file: string): Promise<Report | undefined> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as Report);
}

/** Statements that ran in any of the reports. The same source has the same statements under the same numbers. */
function countRun(reports: readonly Report[]): number {
  const run = new Set<string>();
  for (const report of reports) {
    for (const [file, { s }] of Object.entries(report)) {
      for (const [statement, count] of Object.entries(s)) if (count > 0) run.add(`${file}:${statement}`);
    }
  }
  return run.size;
}
