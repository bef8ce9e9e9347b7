/**
 * Transfers over the user-mode network, many and long, in which each side ends its direction when it likes: every one
 * must come whole and end. The other side is a host of its own behind a veth pair.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FarHost, openFarHost } from '../../helpers/far-host.ts';
import { Tskata } from '../../helpers/tskata.ts';

const BYTES = 20_000_000;
const NEAR = '198.51.100.33';
const FAR = '198.51.100.34';
const SOURCE_PORT = 7001;
const SINK_PORT = 7002;
const SEQUENTIAL = 10;
const PARALLEL = 10;
/** For one transfer on a busy machine; one that hangs would take for ever. */
const TRANSFER_S = 600;
const HOOK_MS = 400_000;
const TEST_MS = 900_000;

/** One port sends as soon as it is asked and closes when the client has; the other answers with a hash at the end. */
const PROGRAM = `
  const { createHash, randomBytes } = require('node:crypto');
  const { createServer } = require('node:net');
  const bytes = randomBytes(${BYTES});
  const serve = (port, work) => new Promise((up) => createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    work(socket);
  }).listen(port, up));
  const source = serve(${SOURCE_PORT}, (socket) => socket.resume().end(bytes));
  const sink = serve(${SINK_PORT}, (socket) => {
    const hash = createHash('sha256');
    socket.on('data', (chunk) => hash.update(chunk)).on('end', () => socket.end(hash.digest('hex') + '\\n'));
  });
  Promise.all([source, sink]).then(() => console.log(createHash('sha256').update(bytes).digest('hex')));
`;

/**
 * In the guest: d downloads, with its own direction ended before the first byte came; u uploads, and reads the answer
 * after its end. Each says one word for each transfer.
 */
const FUNCTIONS = `
  d() { timeout ${TRANSFER_S} nc ${FAR} ${SOURCE_PORT} </dev/null | sha256sum | cut -d' ' -f1; }
  u() { [ "$(timeout ${TRANSFER_S} nc ${FAR} ${SINK_PORT} </tmp/up)" = "$(cat /tmp/hash)" ] && echo whole || echo broken; }
  many() { for i in $(seq $2); do $1; done; }
  together() { for i in $(seq $2); do $1 >/tmp/out.$i & done; wait; cat /tmp/out.*; rm /tmp/out.*; }
`;
const PREPARE = `head -c ${BYTES} /dev/urandom >/tmp/up; sha256sum </tmp/up | cut -d' ' -f1 >/tmp/hash`;

describe('the user-mode network', () => {
  let tskata: Tskata;
  let far: FarHost;
  let id: string;

  beforeAll(async () => {
    tskata = await Tskata.withBusybox();
    far = await openFarHost(`tsk${process.pid}`, NEAR, FAR, PROGRAM);
    id = await tskata.ok('run', '-d', '--network', 'user', '--tmpfs', '/tmp', 'busybox', 'sleep', '100000');
    await tskata.ok('exec', id, 'sh', '-c', PREPARE);
  }, HOOK_MS);
  afterAll(async () => {
    far?.close();
    await tskata.call(['rm', '-f', id]);
    tskata.dispose();
  });

  /** Runs a line with the functions in the guest; the words that it said. */
  async function guest(line: string): Promise<string[]> {
    const { status, stdout, stderr } = await tskata.call(['exec', id, 'sh', '-c', FUNCTIONS + line], {
      timeoutMs: TEST_MS,
    });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    return stdout.trim().split('\n');
  }

  it('carries one half-closed download after the other whole', { timeout: TEST_MS }, async () => {
    expect(await guest(`many d ${SEQUENTIAL}`)).toEqual(Array(SEQUENTIAL).fill(far.greeting));
  });

  it('carries one upload after the other whole, and its answer', { timeout: TEST_MS }, async () => {
    expect(await guest(`many u ${SEQUENTIAL}`)).toEqual(Array(SEQUENTIAL).fill('whole'));
  });

  it('carries many at the same time, in both directions', { timeout: TEST_MS }, async () => {
    const downloads = guest(`together d ${PARALLEL}`);
    expect(await downloads).toEqual(Array(PARALLEL).fill(far.greeting));
    expect(await guest(`together u ${PARALLEL}`)).toEqual(Array(PARALLEL).fill('whole'));
    const words = await guest(`many d 3 >/tmp/down & many u 3; wait; cat /tmp/down`);
    expect(words).toEqual([...Array(3).fill('whole'), ...Array(3).fill(far.greeting)]);
  });

  it('says at once that a port is closed or an address forbidden', async () => {
    const began = performance.now();
    const closed = await tskata.call(['exec', id, 'nc', FAR, '9']);
    expect(closed.stderr).toContain('Connection refused');
    const forbidden = await tskata.call(['exec', id, 'nc', NEAR, String(SOURCE_PORT)]);
    expect(forbidden.stderr).toMatch(/Network (is )?unreachable|No route to host/);
    // A time-out of the guest's kernel takes two minutes.
    expect(performance.now() - began).toBeLessThan(30_000);
  });
});
