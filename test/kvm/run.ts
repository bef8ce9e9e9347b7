/**
 * `npm run test:kvm`: boots a host with a working KVM (emulated, see machine.ts), runs test/kvm/guest/*.test.ts in it,
 * and ends with "N passed, N failed, N skipped". Every step has a deadline, and nothing stays behind.
 *
 *   node test/kvm/run.ts [FILE...]   these test files only
 *   node test/kvm/run.ts --shell     a shell in the host
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { type HostMachine, startHostMachine } from './machine.ts';
import { decodeEvents, type ReportEvent } from './report.ts';
import { describeCoverage, RESULTS, Results } from './results.ts';
import { Tally } from './tally.ts';

const ROOT = join(import.meta.dirname, '../..');
const CONFIG = 'test/kvm/guest/vitest.config.ts';
/** Loaded in the host beyond what its root needs. */
const MODULES = ['kvm_amd', 'vhost_net', 'vhost_vsock', 'tun', 'veth', 'bridge'];
/** 12 s on an idle machine; more than three minutes were seen on one with ten times more work than cores. */
const BOOT_MS = 600_000;
/** The test runner's own start is minutes of an emulated CPU when the machine is busy: 30 s when it is not. */
const RUNNER_START_MS = 300_000;
const FILE_MS = 600_000;
/** The whole, however the steps add up. */
const WHOLE_MS = 30 * 60_000;
/** From the last test to the runner's end. Minutes of an emulated CPU; it is given up rather than waited for. */
const COVERAGE_MS = 300_000;
/** From the last word of the runner to the host's end. */
const POWER_OFF_MS = 60_000;
const SHOWN_LINES = 40;

/** One deadline at a time: each step replaces the one before. */
class Deadline {
  #timer: NodeJS.Timeout | undefined;
  readonly #expired: (what: string) => void;

  constructor(expired: (what: string) => void) {
    this.#expired = expired;
  }

  set(timeoutMs: number, what: string): void {
    this.clear();
    this.#timer = setTimeout(() => this.#expired(`${what} took more than ${timeoutMs / 1000} s`), timeoutMs);
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}

/** Starts a host with this job, hands it to `use`, and removes it whatever happens. */
async function withHost(script: string, shell: boolean, use: (host: HostMachine) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'tskata-kvm-'));
  let host: HostMachine | undefined;
  let ending = false;
  const interrupted = () => {
    // A supervisor may say it more than once; the directory is removed all the same.
    if (ending) return;
    ending = true;
    void (host?.stop() ?? Promise.resolve()).then(async () => {
      await rm(directory, { recursive: true, force: true });
      process.exit(130);
    });
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupted);
  try {
    host = await startHostMachine({ job: { checkout: ROOT, script }, load: MODULES, directory, fresh: shell });
    await use(host);
  } finally {
    await host?.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

async function openShell(): Promise<void> {
  const { columns = 80, rows = 24 } = process.stdout;
  const size = `stty rows ${rows} cols ${columns}`;
  await withHost(`${size}; setsid -c bash -i\n`, true, async (host) => {
    if (process.stdin.isTTY) process.stdin.setRawMode(true);
    process.stdin.pipe(host.terminal, { end: false });
    host.terminal.pipe(process.stdout, { end: false });
    const words = await host.ended;
    if (process.stdin.isTTY) process.stdin.setRawMode(false);
    if (words !== '') process.stderr.write(words);
  });
}

async function runTests(files: readonly string[]): Promise<boolean> {
  const tally = new Tally((line) => console.log(line));
  const begun = performance.now();
  await withHost(`vitest run --config ${CONFIG} --coverage ${files.join(' ')}\n`, false, async (host) => {
    const results = await Results.open(host.results);
    results.log('terminal.log', host.terminal);
    results.log('report.jsonl', host.report);
    await follow(host, tally);
    await results.end(host.console());
  });
  if (tally.counts.passed + tally.counts.skipped === 0 && tally.counts.failed === 0) tally.fail('no test has run');
  const { passed, failed, skipped } = tally.counts;
  console.log(`coverage in the KVM host: ${await describeCoverage()}`);
  console.log(`logs and results: ${relative(ROOT, RESULTS)}`);
  console.log(`KVM host: ${Math.round((performance.now() - begun) / 1000)} s`);
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  return failed === 0;
}

/** Follows the story until the host has ended; a step that takes too long ends it. */
async function follow(host: HostMachine, tally: Tally): Promise<void> {
  let printed = '';
  let reason: string | undefined;
  const end = (what: string) => {
    reason ??= what;
    void host.stop();
  };
  const step = new Deadline(end);
  const whole = new Deadline(end);
  whole.set(WHOLE_MS, 'the whole run');
  step.set(BOOT_MS, 'booting the host');
  host.terminal.on('data', (bytes: Buffer) => {
    printed = (printed + bytes.toString()).slice(-64 * 1024);
  });
  const onEvent = (event: ReportEvent) => {
    tally.take(event);
    setStep(step, event);
  };
  host.report.on(
    'data',
    decodeEvents(onEvent, (line) => console.log(`  ? ${line}`)),
  );
  const words = await host.ended;
  step.clear();
  whole.clear();
  if (tally.tested) {
    if (reason !== undefined) console.log(`no files of the KVM host: ${reason}`);
    return;
  }
  const during = tally.openFile === undefined ? '' : ` during ${tally.openFile}`;
  tally.fail(`the host ended early${during}: ${reason ?? 'by itself'}`);
  show('kernel of the host', host.console());
  show('terminal of the host', printed);
  show('QEMU', words);
}

function setStep(step: Deadline, event: ReportEvent): void {
  switch (event.event) {
    case 'booted':
      step.set(RUNNER_START_MS, 'the start of the test runner');
      return;
    case 'file':
      step.set(FILE_MS, event.file);
      return;
    case 'test':
    case 'problem':
      return;
    case 'file-end':
      step.set(RUNNER_START_MS, 'the start of the next file');
      return;
    case 'tested':
      step.set(COVERAGE_MS, 'working out the coverage');
      return;
    case 'end':
      step.set(POWER_OFF_MS, 'the end of the host');
      return;
  }
}

function show(title: string, text: string): void {
  const lines = text.trim().split('\n').slice(-SHOWN_LINES);
  if (lines.join('') !== '') console.log(`--- ${title} (end)\n${lines.join('\n')}\n---`);
}

const args = process.argv.slice(2);
if (args.includes('--shell')) {
  await openShell();
  process.exit(0);
}
process.exit((await runTests(args)) ? 0 : 1);
