/**
 * `npm run bench`: the project's numbers, measured side by side in one run. Prints a table and writes JSON to
 * build/bench.json. Options: --quick (few repetitions), --loaded (do not insist on an idle machine).
 */
import { statSync, writeFileSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { printTable } from '../../runtime/cli/table.ts';
import { measureAgentInstructions } from './agent-instructions.ts';
import { measureColdBoot } from './cold-boot.ts';
import { measureIdle } from './idle.ts';
import { measureRunTrue } from './run-true.ts';
import { type Ratio, ratioOfMedians, summarize } from './statistics.ts';
import { measureStreams, type StreamMeasure } from './streams.ts';

const quick = process.argv.includes('--quick');
const MAX_LOAD_PER_CPU = 0.5;
const MIB = 1024 * 1024;

const [load = 0] = loadavg();
if (load > MAX_LOAD_PER_CPU * cpus().length && !process.argv.includes('--loaded')) {
  process.stderr.write(`bench: the load average is ${load.toFixed(1)}; wait for an idle machine, or use --loaded\n`);
  process.exit(1);
}

const boot = await measureColdBoot(quick ? 5 : 10);
const run = await measureRunTrue(quick ? 5 : 30);
const idle = await measureIdle();
const instructions = await measureAgentInstructions();
const streams = await measureStreams();

const ratio = ({ value, low, high }: Ratio): string => `${value.toFixed(2)} (${low.toFixed(2)}-${high.toFixed(2)})`;
const seconds = (values: readonly number[]): string => {
  const { min, p50, p90 } = summarize(values);
  return `${min.toFixed(2)} / ${p50.toFixed(2)} / ${p90.toFixed(2)} s`;
};
const counts = (values: readonly number[]): string => values.map((value) => value.toLocaleString('en')).join(' and ');
const isEqual = (count: 'ready' | 'answered'): boolean => instructions[0][count] === instructions[1][count];
const equality = (count: 'ready' | 'answered'): string => `${isEqual(count) ? '' : 'NOT '}equal in two boots`;
const mib = (bytes: number): string => `${(bytes / MIB).toFixed(1)} MiB`;
const flow = ({ megabytesPerS, callMs }: StreamMeasure): string =>
  `${megabytesPerS.toFixed(0)} MB/s, a call's 99th percentile ${callMs.toFixed(0)} ms`;
const sizes = ['guest/vmlinuz', 'tskata-agent', 'tskata-helper'].map(
  (name) => [name, statSync(join(import.meta.dirname, '../../build/lib', name)).size] as const,
);

printTable(
  ['MEASURE', 'VALUE (min / p50 / p90)', 'PEER', 'RATIO OF MEDIANS (95 %)'],
  [
    [
      'cold boot to the agent, QEMU CPU',
      seconds(boot.subjectCpu),
      seconds(boot.plainCpu),
      ratio(ratioOfMedians(boot.subjectCpu, boot.plainCpu)),
    ],
    ['cold boot to the agent, wall', seconds(boot.subjectWall), '', ''],
    [
      'run --rm true, network none, wall',
      seconds(run.tskata.wall),
      seconds(run.podman.wall),
      ratio(ratioOfMedians(run.tskata.wall, run.podman.wall)),
    ],
    [
      'run --rm true, network none, CPU',
      seconds(run.tskata.cpu),
      seconds(run.podman.cpu),
      ratio(ratioOfMedians(run.tskata.cpu, run.podman.cpu)),
    ],
    ['run --rm true, network user, wall', seconds(run.tskataUser.wall), '', ''],
    ...Object.entries(idle.processes).map(([name, { pssKb, privateDirtyKb }]) => [
      `idle sandbox, ${name}`,
      `PSS ${mib(pssKb * 1024)}, private dirty ${mib(privateDirtyKb * 1024)}`,
      '',
      '',
    ]),
    [
      'idle sandbox, all',
      `PSS ${mib(idle.total.pssKb * 1024)}, private dirty ${mib(idle.total.privateDirtyKb * 1024)}`,
      '',
      '',
    ],
    ['guest RAM minus MemAvailable, idle', `${mib(idle.guestUsedBytes)} of ${mib(idle.guestRamBytes)}`, '', ''],
    ['agent resident', mib(idle.agentResidentBytes), '', ''],
    ['a GiB out of the guest', flow(streams.out), '', ''],
    ['a GiB into the guest', flow(streams.in), '', ''],
    ...sizes.map(([name, bytes]) => [`size of ${name}`, mib(bytes), '', '']),
    [
      "instructions, the agent's execve to ready",
      counts(instructions.map(({ ready }) => ready)),
      equality('ready'),
      '',
    ],
    [
      "instructions, the agent's execve to its first answer",
      counts(instructions.map(({ answered }) => answered)),
      equality('answered'),
      '',
    ],
  ],
);

const report = {
  at: new Date().toISOString(),
  loadAverage: load,
  boot,
  run,
  idle,
  instructions,
  streams,
  sizes: Object.fromEntries(sizes),
};
const missed = [
  ...(ratioOfMedians(boot.subjectCpu, boot.plainCpu).value > 0.5
    ? ['a cold boot costs more than half of plain QEMU']
    : []),
  ...(idle.guestUsedBytes > 40 * MIB ? ['an idle guest uses more than 40 MiB'] : []),
  ...Object.entries(streams).flatMap(([way, { megabytesPerS, callMs }]) => [
    ...(megabytesPerS < 40 ? [`less than 40 MB/s ${way}`] : []),
    ...(callMs >= 100 ? [`a call takes 100 ms and more while bytes go ${way}`] : []),
  ]),
  ...(isEqual('ready') && isEqual('answered') ? [] : ['two boots differ in their instructions']),
];
for (const target of missed) process.stderr.write(`bench: ${target}\n`);
if (missed.length > 0) process.exitCode = 1;
writeFileSync(join(import.meta.dirname, '../../build/bench.json'), `${JSON.stringify(report, null, 2)}\n`);
