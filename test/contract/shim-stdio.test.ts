/**
 * Input and output through a real containerd: pipes, terminals, files, loggers, clients that leave. One machine answers
 * all of it.
 */
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Containerd } from '../helpers/containerd.ts';
import { CtrPods } from '../helpers/ctr-pods.ts';
import { ending, eventually, watchOutput } from '../helpers/tskata.ts';

const TIMEOUT_MS = 200_000;
const OUTPUT_BYTES = 8 * 1024 * 1024;
let containerd: Containerd;
let pods: CtrPods;

beforeAll(async () => {
  containerd = await Containerd.start({ withoutImages: true });
  pods = new CtrPods(containerd);
  await pods.sandbox('pod');
  await pods.container('pod', 'app', 'sleep', '1000000');
}, TIMEOUT_MS);

afterAll(async () => {
  for (const id of (await pods?.containers()) ?? []) await pods.remove(id);
  await containerd?.dispose();
}, TIMEOUT_MS);

/** `ctr run` of a container in the pod, with further flags before its root. */
function runCommand(flags: readonly string[], id: string, ...command: string[]): string[] {
  const [run = '', detached = '', ...rest] = pods.runCommand('pod', 'container', id, command);
  return flags.includes('--foreground')
    ? [run, ...flags.filter((flag) => flag !== '--foreground'), ...rest]
    : [run, detached, ...flags, ...rest];
}

async function stopped(id: string): Promise<void> {
  await eventually(async () => (await pods.tasks()).get(id)?.status === 'STOPPED', 40_000, `the end of ${id}`);
}

test('input reaches the program whole and ends; both outputs come back apart', { timeout: TIMEOUT_MS }, async () => {
  const input = Array.from({ length: 200_000 }, (_, index) => `line ${index}\n`).join('');
  const count = ['task', 'exec', '--exec-id', 'in', 'app', 'sh', '-c', 'wc -c; echo problem >&2; exit 4'];
  expect(await containerd.ctr(count, { input })).toEqual({
    status: 4,
    stdout: `${input.length}\n`,
    stderr: 'problem\n',
  });
  const output = await pods.exec('app', 'out', 'sh', '-c', `dd if=/dev/zero bs=64k count=${OUTPUT_BYTES >> 16} 2>&-`);
  expect(output.stdout.length).toBe(OUTPUT_BYTES);
});

test('an orphan that holds the pipe holds nobody up', { timeout: TIMEOUT_MS }, async () => {
  const events = pods.events();
  await eventually(
    async () => {
      await pods.exec('app', `watch${Date.now()}`, 'true');
      return events.seen().length > 0;
    },
    60_000,
    'events',
  );
  const orphan = await pods.exec('app', 'orphan', 'sh', '-c', 'sleep 1000 & echo out; exit 3');
  expect(orphan).toEqual({ status: 3, stdout: 'out\n', stderr: '' });
  const at = (topic: string): number =>
    events.seen().find((event) => event.process === 'orphan' && event.topic === topic)?.atMs ?? Number.NaN;
  await eventually(() => at('exit') > 0, 30_000, 'the exit');
  events.child.kill('SIGKILL');
  // Output that nobody takes holds an exit up for ten seconds.
  expect(at('exit') - at('exec-started')).toBeLessThan(5_000);
});

test('a terminal has a size and one stream, and hands keys on', { timeout: TIMEOUT_MS }, async () => {
  const command = [...containerd.ctrCommand, 'task', 'exec', '-t', '--exec-id', 'tty', 'app', 'sh'].join(' ');
  const child = containerd.namespaces.start(['script', '-qefc', `stty rows 33 cols 99; ${command}`, '/dev/null']);
  const output = watchOutput(child);
  const ended = ending(child);
  await output.until(/# /, 60_000);
  child.stdin?.write('test -t 0 && echo is""-a-terminal; echo to-stderr >&2; stty size\n');
  await output.until(/is-a-terminal\r+\nto-stderr\r+\n33 99\r+\n/, 60_000);
  child.stdin?.write('exit 6\n');
  expect(await ended).toBe(6);
});

test('file:// gets both streams', { timeout: TIMEOUT_MS }, async () => {
  const log = join(containerd.directory, 'output.log');
  const command = runCommand(['--log-uri', `file://${log}`], 'filed', 'sh', '-c', 'echo one; echo two >&2');
  expect(await containerd.ctr(command)).toMatchObject({ status: 0 });
  await stopped('filed');
  expect(readFileSync(log, 'utf8').split('\n').sort()).toEqual(['', 'one', 'two']);
  await pods.remove('filed');
});

test('binary:// gets them on its descriptors, with its arguments and the container', {
  timeout: TIMEOUT_MS,
}, async () => {
  const [logger, out] = [join(containerd.directory, 'logger'), join(containerd.directory, 'logged')];
  const script = [
    '#!/bin/sh',
    `echo "$CONTAINER_NAMESPACE $CONTAINER_ID $*" > ${out}.env`,
    'exec 5>&-',
    `cat <&4 > ${out}.err & cat <&3 > ${out}.out; wait`,
    `echo done > ${out}.done`,
  ];
  writeFileSync(logger, `${script.join('\n')}\n`);
  chmodSync(logger, 0o755);
  const command = runCommand(['--log-uri', `binary://${logger}?key=value`], 'logged', 'sh', '-c', 'echo a; echo b >&2');
  expect(await containerd.ctr(command)).toMatchObject({ status: 0 });
  await stopped('logged');
  await pods.remove('logged');
  await eventually(() => existsSync(`${out}.done`), 30_000, 'the end of the logger');
  const read = (kind: string): string => readFileSync(`${out}.${kind}`, 'utf8');
  expect([read('env'), read('out'), read('err')]).toEqual(['default logged key value\n', 'a\n', 'b\n']);
});

test('a client that is killed takes nothing along, and its container can be ended', {
  timeout: TIMEOUT_MS,
}, async () => {
  const command = runCommand(['--foreground'], 'flood', 'sh', '-c', 'while true; do echo flood; done');
  const client = containerd.namespaces.start([...containerd.ctrCommand, ...command]);
  const gone = ending(client);
  await watchOutput(client).until(/flood/, 60_000);
  client.kill('SIGKILL');
  await gone;
  expect((await pods.exec('app', 'beside', 'sh', '-c', 'echo still here')).stdout).toBe('still here\n');
  expect((await pods.tasks()).get('flood')?.status).toBe('RUNNING');
  // Nobody reads what is in its pipe: its exit is told all the same, after ten seconds at most.
  await pods.remove('flood');
});
