/**
 * One scenario by `ctr` on runc and on tskata: exit codes, errors that clients read, states, events. What was seen must be
 * equal but for the listed differences.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Containerd } from '../helpers/containerd.ts';
import { Comparison, type Difference } from '../helpers/cri/comparison.ts';
import type { Handler } from '../helpers/cri/pod.ts';
import { CtrPods } from '../helpers/ctr-pods.ts';
import { eventually } from '../helpers/tskata.ts';

vi.setConfig({ testTimeout: 200_000, hookTimeout: 200_000 });

const HANDLERS: readonly Handler[] = ['runc', 'tskata'];
const ID = 'compared';
/** Without it runc looks nowhere, and tskata where shells do. */
const PATH = ['--env', 'PATH=/bin'];
const DIFFERENCES: Readonly<Record<string, Difference>> = {
  'no such path': {
    runc: 'false exec: "/bin/none": stat /bin/none: no such file or directory: unknown',
    tskata: 'false exec: "/bin/none": no such file or directory: unknown',
    why: 'the guest executes and does not look before; clients match on the words after it',
  },
  events: {
    runc: 'create, start, e1 exec-added, e1 exec-started, e1 exit, e2 exec-added, paused, resumed, exit, delete',
    tskata:
      'create, start, e1 exec-added, e1 exec-started, e1 exit, e1 delete, e2 exec-added, e2 delete, paused, resumed, exit, delete',
    why: 'the end of an exec is told too, as the interface of shims wishes',
  },
};

let containerd: Containerd;
const comparison = new Comparison();

beforeAll(async () => {
  containerd = await Containerd.start({ withoutImages: true });
});

afterAll(() => containerd?.dispose());

describe.each(HANDLERS)('on %s', (handler) => {
  const runtime = handler === 'runc' ? 'io.containerd.runc.v2' : 'io.containerd.tskata.v2';
  const see = (name: string, value: string | number) => comparison.see(handler, name, value);
  const ctr = (...args: readonly string[]) => containerd.ctr(args);
  let pods: CtrPods;

  beforeAll(() => {
    pods = new CtrPods(containerd, runtime);
  });

  const state = async (): Promise<string> => (await pods.tasks()).get(ID)?.status ?? 'none';

  /** The words that are not of one runtime: from the program's name on. */
  const reason = (stderr: string): string => /exec: .*$/m.exec(stderr)?.[0] ?? stderr;

  test('what ends at once', async () => {
    const run = (...command: string[]) => ctr(...pods.foreground(`${ID}-short`, PATH, ...command));
    for (const [name, command] of [
      ['exit code', ['sh', '-c', 'echo out; echo err >&2; exit 9']],
      ['a signal of the first process to itself', ['sh', '-c', 'kill -KILL $$']],
    ] as const) {
      const { status, stdout, stderr } = await run(...command);
      see(name, JSON.stringify([status, stdout, stderr]));
    }
    for (const [name, program] of [
      ['no such path', '/bin/none'],
      ['no such name', 'none'],
      ['not executable', '/etc'],
    ] as const) {
      const { status, stderr } = await run(program);
      see(name, `${status === 0} ${reason(stderr)}`);
    }
  });

  test('a life', async () => {
    const { child, seen } = pods.events();
    await pods.single(ID, PATH, 'sleep', '1000000');
    see('running', await state());
    const exec = await pods.exec(ID, 'e1', 'sh', '-c', 'echo out; echo err >&2; exit 3');
    see('exec', JSON.stringify([exec.status, exec.stdout, exec.stderr]));
    const missing = await pods.exec(ID, 'e2', 'none');
    see('exec of no such name', `${missing.status === 0} ${reason(missing.stderr)}`);
    see('a second of the id', reason((await ctr('task', 'start', ID)).stderr));
    see('deleted while it runs', String((await ctr('task', 'rm', ID)).status !== 0));
    await ctr('task', 'pause', ID);
    see('paused', await state());
    await ctr('task', 'resume', ID);
    see('resumed', await state());
    await ctr('task', 'kill', '-s', 'SIGTERM', ID);
    await ctr('task', 'kill', '-s', 'SIGKILL', ID);
    await eventually(async () => (await state()) === 'STOPPED', 30_000, 'the end');
    see('killed when it has ended', (await ctr('task', 'kill', '-s', 'SIGKILL', ID)).stderr);
    see('exec when it has ended', String((await pods.exec(ID, 'e3', 'true')).status !== 0));
    see('removed', (await ctr('task', 'rm', ID)).stderr.replace(/^time="\S+" /, ''));
    await pods.remove(ID);
    const topics = () => seen().map(({ topic, process }) => `${process === ID ? '' : `${process} `}${topic}`);
    await eventually(() => topics().at(-1) === 'delete', 30_000, 'the last event');
    child.kill('SIGKILL');
    see('events', topics().join(', '));
  });
});

test('all of it is equal, but for what is listed', () => {
  expect(comparison.problems(DIFFERENCES)).toEqual([]);
});
