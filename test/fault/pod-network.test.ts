/**
 * A pod's network when things go wrong: a part of the sandbox dies, or the namespace cannot be carried. The namespace is
 * as it was before, whatever happened.
 */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { NetworkNamespace } from '../helpers/network-namespaces.ts';
import { askFrom, Pod, TALK_PORT } from '../helpers/pod.ts';
import { buildTalk, type Talk } from '../helpers/talk.ts';
import { eventually, Tskata } from '../helpers/tskata.ts';

const ADDRESS = '10.9.0.2';
/** The first start of a run root tries KVM; a loaded machine makes seconds of it and of each boot. */
const SLOW_MS = 240_000;
const END_MS = 30_000;

let tskata: Tskata;
let talk: Talk;
let host: NetworkNamespace;
let pod: Pod;

beforeAll(async () => {
  tskata = new Tskata();
  talk = await buildTalk();
});

beforeEach(() => {
  host = new NetworkNamespace('host');
  pod = new Pod({ tskata, talk: talk.program }, 'pod');
  host.ip(`link add veth0 type veth peer name eth0 netns ${pod.network.name}`);
  host.ip('link set veth0 up');
  host.ip('addr add 10.9.0.1/24 dev veth0');
  pod.network.ip('link set eth0 up');
  pod.network.ip(`addr add ${ADDRESS}/24 dev eth0`);
});

/** Taps, ingress disciplines, sockets that are in the namespace. */
function held(): unknown {
  const { network } = pod;
  return { interfaces: network.interfaces(), ingress: network.ingress(), listeners: network.listeners() };
}

const NOTHING = { interfaces: ['eth0'], ingress: [], listeners: [] };

const reaches = () => askFrom(host, talk.program, ['tcp', ADDRESS, TALK_PORT, 'x']);

afterEach(async () => {
  await pod.remove();
  expect(held()).toEqual(NOTHING);
  pod.network.dispose();
  host.dispose();
});

afterAll(() => {
  talk.remove();
  tskata.dispose();
});

test.each([['qemu'], ['keeper'], ['shim'], ['shim', 'keeper']] as const)(
  'kill -9 of %s',
  { timeout: SLOW_MS },
  async (...victims) => {
    await pod.start();
    expect(await reaches()).toBe('10.9.0.1 said x');
    expect(held()).not.toEqual(NOTHING);
    const { record } = pod;
    for (const name of victims) process.kill(record[name]?.pid ?? 0, 'SIGKILL');
    // With shim and keeper gone, nobody is left to clean up but the next command.
    if (victims.length > 1) await pod.remove();
    await eventually(() => JSON.stringify(held()) === JSON.stringify(NOTHING), END_MS, 'a namespace as before');
  },
);

test('a namespace that cannot be carried fails the create, says why, and is as before', {
  timeout: SLOW_MS,
}, async () => {
  const start = (path: string) => tskata.call(['run', '-d', '--bundle', pod.bundle(path)]);
  const failed = async (path: string, words: string): Promise<void> => {
    const { status, stderr } = await start(path);
    expect([status, stderr]).toEqual([125, expect.stringContaining(words)]);
    expect(held()).toEqual(NOTHING);
  };
  await failed('/run/netns/tsk-there-is-none', 'set up the network: open /run/netns/tsk-there-is-none: ENOENT');
  await failed('/dev/null', 'set up the network: setns');
  await failed(`/proc/${process.pid}/ns/net`, 'is the network of the host (hostNetwork)');
  pod.network.run('tc', 'qdisc', 'add', 'dev', 'eth0', 'clsact');
  const { stderr } = await start(pod.network.path);
  expect(stderr).toContain('carry eth0: it has an ingress queueing discipline (clsact) of somebody else');
  pod.network.run('tc', 'qdisc', 'del', 'dev', 'eth0', 'clsact');
});

test('two machines cannot have one namespace', { timeout: SLOW_MS }, async () => {
  await pod.start();
  const { status, stderr } = await tskata.call(['run', '-d', '--bundle', pod.bundle()]);
  expect([status, stderr]).toEqual([125, expect.stringContaining('another sandbox uses this network namespace')]);
  expect(await reaches()).toBe('10.9.0.1 said x');
});
