/**
 * Real programs from a registry by CRI: redis, nginx and python, as kubelet would run them in one pod, used by their own
 * clients. On runc and on tskata with the same answers.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Containerd } from '../../helpers/containerd.ts';
import { Comparison } from '../../helpers/cri/comparison.ts';
import { type ContainerOptions, type Handler, Pod, type PodContainer } from '../../helpers/cri/pod.ts';
import { type DebianImage, pushDebianImages } from '../../helpers/debian-images.ts';
import { startRegistry, type TestRegistry } from '../../helpers/registry.ts';

// For a machine with several times more work than cores.
vi.setConfig({ testTimeout: 300_000, hookTimeout: 300_000 });

const HANDLERS: readonly Handler[] = ['runc', 'tskata'];
const PULL_TIMEOUT_MS = 300_000;
/** Repeats a command until it succeeds: a server answers a while after its start. */
const patiently = (command: string) => `for i in $(seq 100); do ${command} && exit; sleep 0.2; done; exit 1`;

let containerd: Containerd;
let registry: TestRegistry;
let images: Record<DebianImage, string>;
const comparison = new Comparison();

beforeAll(async () => {
  containerd = await Containerd.start();
  registry = await startRegistry({ within: containerd.namespaces.prefix });
  const layouts = join(containerd.directory, 'layouts');
  mkdirSync(layouts);
  images = await pushDebianImages(registry, layouts);
  for (const image of Object.values(images)) {
    await containerd.cri.images.pullImage({ image: { image } }, { timeoutMs: PULL_TIMEOUT_MS });
  }
}, 900_000);

afterAll(async () => {
  await registry?.stop();
  await containerd?.dispose();
});

describe.each(HANDLERS)('on %s', (handler) => {
  let pod: Pod;
  let redis: PodContainer;
  let nginx: PodContainer;
  const see = (name: string, value: string | number) => comparison.see(handler, name, value);
  const start = (name: DebianImage, options: Partial<ContainerOptions> = {}) =>
    pod.start({ name, image: { image: images[name] }, ...options });

  beforeAll(async () => {
    pod = await Pod.run(containerd, handler);
  });

  afterAll(() => pod?.remove());

  test('redis keeps what its client gives it', async () => {
    redis = await start('redis');
    see('redis answers', await redis.output(patiently('redis-cli ping 2>/dev/null | grep PONG')));
    see('redis keeps', await redis.output('redis-cli set key "some value"; redis-cli get key; id; pwd'));
    const many = 'seq 5000 | sed "s/.*/SET key:& value:&/" | redis-cli --pipe | tail -1; redis-cli dbsize';
    see('redis keeps many', await redis.output(many));
  });

  test('nginx serves a page to another container of the pod, and logs it', async () => {
    nginx = await start('nginx');
    const client = await pod.shell(patiently('wget -qO- http://127.0.0.1/ 2>/dev/null'));
    see('nginx page', `${client.status} ${client.stdout}`);
    expect(nginx.log('stdout')).toMatch(/"GET \/ HTTP\/1\.1" 200/);
  });

  test('python runs what it is given', async () => {
    const script =
      'import os, sys, platform, hashlib; print(sum(range(10**6)), hashlib.sha256(b"x" * 10**6).hexdigest())';
    const python = await start('python3', { args: ['-c', script] });
    see('python', `${await python.exit()} ${python.log('stdout')}`);
    const failing = await start('python3', { args: ['-c', 'raise SystemExit(5)'] });
    see('python fails', String(await failing.exit()));
    const server = await start('python3', { args: ['-c', PYTHON_SERVER] });
    const { stdout } = await pod.shell(patiently('echo ping | nc 127.0.0.1 9000 | grep ping'));
    expect(stdout).toBe('ping\n');
    await server.stop(10);
    see('python stops', await server.exit());
  });

  /** The size comes beside the input, and may come after it. */
  const SIZED =
    'read word; while [ "$(stty size)" = "0 0" ]; do sleep 0.1; done; stty size; tty; echo got $word; exit 6';

  test("kubectl's streams reach them: a terminal, an attached input, a forwarded port", async () => {
    const typed = await redis.type('hello\n', 'sh', '-c', SIZED);
    see('terminal', `${typed.status} ${typed.stdout}`);
    const reader = await start('python3', { stdin: true, stdinOnce: true, args: ['-c', 'print(input()[::-1])'] });
    const attached = await reader.attach('olleh\n');
    see('attached', `${attached.status} ${attached.stdout} ${await reader.exit()}`);
    const forwarded = await pod.forward(6379, 'PING\r\nGET key\r\nQUIT\r\n');
    see('forwarded', `${forwarded.status} ${forwarded.stdout}`);
    expect(forwarded.stdout).toBe('+PONG\r\n$10\r\nsome value\r\n+OK\r\n');
  });

  test("clients outside reach them at the pod's address", async () => {
    const { network } = await pod.status();
    const addresses = [network?.ip ?? '', ...(network?.additionalIps ?? []).map(({ ip }) => ip)];
    expect(addresses).toHaveLength(2);
    for (const [index, ip] of addresses.entries()) {
      const url = `http://${ip.includes(':') ? `[${ip}]` : ip}/`;
      const page = await containerd.call(['curl', '--silent', '--max-time', '30', url]);
      see(`page over address ${index}`, `${page.status} ${page.stdout}`);
    }
    const answer = await containerd.call(['redis-cli', '-h', addresses[0] ?? '', 'get', 'key']);
    see('redis from outside', `${answer.status} ${answer.stdout}`);
  });

  test('they end as they were asked to', async () => {
    await Promise.all([redis.stop(30), nginx.stop(30)]);
    see('redis ends', `${await redis.exit()} ${/User requested shutdown/.test(redis.log('stdout'))}`);
    see('nginx ends', `${await nginx.exit()}`);
  });
});

test('both runtimes showed the same', () => {
  expect(comparison.problems({})).toEqual([]);
});

const PYTHON_SERVER = `
import signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = socket.create_server(("0.0.0.0", 9000))
while True:
    connection, _ = server.accept()
    with connection:
        connection.sendall(connection.recv(100))
`;
