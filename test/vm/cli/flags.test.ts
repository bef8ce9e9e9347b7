/** The rest of docker's flags, and what a program reads: signals, logs, ports, names, JSON, help. */
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../../runtime/host/process.ts';
import { ending, eventually, Tskata, watchOutput } from '../../helpers/tskata.ts';

interface Row {
  readonly id: string;
  readonly status: string;
  readonly exitStatus?: number;
}

describe('tskata', () => {
  let tskata: Tskata;

  beforeAll(async () => {
    tskata = await Tskata.withBusybox();
  });
  afterEach(async () => {
    for (const { id } of await rows()) await tskata.ok('rm', '-f', id);
    expect(tskata.leaks()).toEqual([]);
  });
  afterAll(() => tskata.dispose());

  const rows = async () => JSON.parse(await tskata.ok('list', '--json')) as Row[];
  const sh = (line: string, ...flags: string[]) => tskata.call(['run', '--rm', ...flags, 'busybox', 'sh', '-c', line]);

  it('hands signals on, and a signal before the start ends the run', async () => {
    const trap = 'trap "echo int" INT; trap "echo term; exit 8" TERM; echo ready; while :; do sleep 0.1; done';
    const child = tskata.start(['run', '--rm', 'busybox', 'sh', '-c', trap]);
    const ended = ending(child);
    const output = watchOutput(child);
    await output.until(/ready/);
    child.kill('SIGINT');
    await output.until(/int/);
    child.kill('SIGTERM');
    expect(await ended).toBe(8);
    const early = tskata.start(['run', '--rm', 'busybox', 'sleep', '1000']);
    const earlyEnded = ending(early);
    await eventually(() => tskata.records().length > 0, 10_000, 'it has begun');
    early.kill('SIGTERM');
    expect(await earlyEnded).toBe(143);
  });

  it('ends by three signals in a row what heeds none, by two before there is a process', {
    timeout: 120_000,
  }, async () => {
    // Process 1 of a container is not ended by a signal that it has no handler for.
    const child = tskata.start(['run', '--rm', '--network', 'none', 'busybox', 'sh', '-c', 'echo up; exec sleep 1000']);
    const ended = ending(child);
    const output = watchOutput(child);
    await output.until(/up/);
    const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    for (const waitMs of [2_500, 100, 0]) {
      child.kill('SIGTERM');
      await pause(waitMs);
    }
    // Slow ones are the program's to answer: it runs on.
    expect(await rows()).toMatchObject([{ status: 'running' }]);
    await pause(2_500);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGINT'] as const) {
      child.kill(signal);
      await pause(100);
    }
    expect(await ended).toBe(137);
    expect(output.text()).toBe('up\ntskata: killed: 3 signals within 2 s\n');

    // Of two signals that wait together the kernel runs the later one's handler first.
    for (const apartMs of [50, 250, 500]) {
      const early = tskata.start(['run', '--rm', '--network', 'none', 'busybox', 'sleep', '1000']);
      const earlyEnded = ending(early);
      const said = watchOutput(early);
      await eventually(async () => (await rows()).length > 0, 20_000, 'the shim is there');
      early.kill('SIGINT');
      await pause(apartMs);
      early.kill('SIGTERM');
      // A clean-up that was quick has ended already.
      const status = await earlyEnded;
      expect([130, 143]).toContain(status);
      if (status === 143) expect(said.text()).toBe('tskata: left without cleaning up; the next command does it\n');
      await eventually(async () => (await rows()).length === 0 && tskata.leaks().length === 0, 20_000, 'all is gone');
    }
  });

  it('cleans up for a caller that was killed, once the container has ended', async () => {
    const child = tskata.start(['run', '--rm', 'busybox', 'sh', '-c', 'echo up; sleep 3']);
    const output = watchOutput(child);
    await output.until(/up/);
    child.kill('SIGKILL');
    expect(await rows()).toMatchObject([{ status: 'running' }]);
    await eventually(() => tskata.leaks().length === 0, 20_000, 'nothing is left');
    // Before there is a process: the machine that was asked for goes by itself.
    for (const flags of [[], ['-d']]) {
      const early = tskata.start(['run', '--rm', ...flags, 'busybox', 'sleep', '1000']);
      await eventually(async () => (await rows()).length > 0, 10_000, 'the shim is there');
      early.kill('SIGKILL');
      await eventually(() => tskata.leaks().length === 0, 20_000, 'nothing is left of the early one');
    }
  });

  it('ends a container whose output nobody reads any more', async () => {
    const line = '$TSKATA run --rm busybox yes | head -n 1';
    const env = { TSKATA: join(tskata.build, 'bin/tskata') };
    const { stdout } = await run('sh', ['-c', line], {
      timeoutMs: 60_000,
      env: { ...env, TSKATA_RUN_ROOT: tskata.runRoot, TSKATA_LIB_ROOT: tskata.libRoot },
    });
    expect(stdout.trim()).toBe('y');
  });

  it('rotates logs at a size, and follows them', async () => {
    const line = 'i=0; while [ $i -lt 3000 ]; do echo "line $i"; i=$((i + 1)); done; sleep 1; echo last';
    const id = await tskata.ok('run', '-d', '--log-opt', 'max-size=64k', 'busybox', 'sh', '-c', line);
    const follower = tskata.start(['logs', '-f', id]);
    const output = watchOutput(follower);
    expect(await ending(follower)).toBe(0);
    expect(output.text()).toMatch(/last\n$/);
    const directory = join(tskata.libRoot, 'containers/default', id);
    const sizes = ['log.json', 'log.json.1'].map((name) => readFileSync(join(directory, name)).length);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(64 * 1024);
    const kept = (await tskata.ok('logs', id)).split('\n');
    expect(kept.length).toBeGreaterThan(500);
    expect(kept.slice(-2)).toEqual(['line 2999', 'last']);
    expect(await tskata.ok('logs', '-n', '1', id)).toBe('last');
    expect((await tskata.call(['logs', '-n', 'few', id])).stderr).toContain('must be a number of lines');
  });

  it('publishes ports, low ones too, and refuses the same twice', async () => {
    const spare = createServer().listen(0);
    await new Promise((resolve) => spare.once('listening', resolve));
    const { port } = spare.address() as { port: number };
    spare.close();
    const serve = 'echo from $(hostname) > /index; while :; do nc -l -p 80 -e cat /index; done';
    const flags = ['-d', '--name', 'web', '--hostname', 'web', '-p', `127.0.0.1:${port}:80`, '-p', '127.0.0.1:883:80'];
    await tskata.ok('run', ...flags, 'busybox', 'sh', '-c', serve);
    const read = (at: number) =>
      new Promise<string>((resolve) => {
        let text = '';
        const socket = connect(at, '127.0.0.1');
        socket.on('data', (bytes) => {
          text += bytes.toString();
        });
        socket.on('error', () => resolve(''));
        socket.on('close', () => resolve(text));
      });
    await eventually(async () => (await read(port)) === 'from web\n', 20_000, 'the server answers');
    await eventually(async () => (await read(883)) === 'from web\n', 5_000, 'the server answers on the low port');
    const twice = await tskata.call(['run', '-p', '80:80', '-p', '80:81', 'busybox', 'true']);
    expect(twice).toMatchObject({ status: 125, stderr: 'tskata: --publish 0.0.0.0:80: asked for twice\n' });
  });

  it('waits as long as --stop-timeout says, and sends what --stop-signal says', async () => {
    const deaf = 'trap "" TERM USR1; while :; do sleep 0.1; done';
    const id = await tskata.ok(
      'run',
      '-d',
      '--stop-timeout',
      '1',
      '--stop-signal',
      'USR1',
      'busybox',
      'sh',
      '-c',
      deaf,
    );
    const began = performance.now();
    await tskata.ok('stop', id);
    const tookMs = performance.now() - began;
    expect(tookMs).toBeGreaterThan(1_000);
    expect(tookMs).toBeLessThan(8_000);
    expect(await rows()).toMatchObject([{ id, status: 'stopped', exitStatus: 137 }]);
  });

  it('sets the defaults and what else flags say, in one machine', async () => {
    const profile = join(tskata.directory, 'seccomp.json');
    writeFileSync(
      profile,
      JSON.stringify({
        defaultAction: 'SCMP_ACT_ALLOW',
        syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 13 }],
      }),
    );
    const result = await sh(
      'echo "$PATH|$HOME|$(printenv TERM || echo none)|$(test "$HOSTNAME" = "$(hostname)" && echo same)"; cat /etc/resolv.conf; ' +
        'touch /x; touch /tmp/y && echo tmp; mkdir /tmp/z; grep -c "^proc" /proc/mounts',
      ...['--read-only', '--tmpfs', '/tmp', '--dns', '192.0.2.53', '--security-opt', `seccomp=${profile}`],
      ...['--annotation', 'com.example.a=b', '--annotation', 'io.tskata.sandbox.memory=300'],
    );
    expect(result.stdout).toContain('/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin|/root|none|same');
    expect(result.stdout).toContain('nameserver 192.0.2.53');
    expect(result.stderr).toContain('touch: /x: Read-only file system');
    expect(result.stdout).toContain('tmp\n');
    expect(result.stderr).toMatch(/mkdir: .*Permission denied/);
  });

  it('runs four at once', async () => {
    const results = await Promise.all(['1', '2', '3', '4'].map((number) => sh(`hostname; exit ${number}`)));
    expect(results.map(({ status }) => status)).toEqual([1, 2, 3, 4]);
    expect(new Set(results.map(({ stdout }) => stdout)).size).toBe(4);
  });

  it('keeps the input of a detached container open with -i', async () => {
    const id = await tskata.ok('run', '-di', 'busybox', 'cat');
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await rows()).toMatchObject([{ id, status: 'running' }]);
  });

  it('tells 126 and 127 of programs from 125 of its own, also in exec', async () => {
    const id = await tskata.ok('run', '-d', 'busybox', 'sleep', '1000');
    const codes = async (...words: string[]) => (await tskata.call(['exec', id, ...words])).status;
    expect(await codes('/etc')).toBe(126);
    expect(await codes('/nowhere')).toBe(127);
    expect((await tskata.call(['exec', 'none-such', 'true'])).status).toBe(125);
    expect((await tskata.call(['exec', '--bogus', id, 'true'])).status).toBe(125);
    expect(
      (await tskata.call(['run', '--rm', '--mount', 'type=bind,src=/none,dst=/x', 'busybox', 'true'])).status,
    ).toBe(125);
  });

  it('speaks JSON to programs, and explains itself to people', async () => {
    const json = async (...words: string[]) => JSON.parse((await tskata.call(words)).stdout) as unknown;
    expect(await json('list', '--json')).toEqual([]);
    expect(await json('images', '--json')).toMatchObject([{}]);
    expect(await json('doctor', '--json')).toMatchObject({
      accelerator: expect.any(String),
      checks: expect.any(Array),
    });
    expect(await tskata.ok('--version')).toMatch(/^tskata \d+\.\d+\.\d+/);
    const help = await tskata.ok('--help');
    for (const verb of [
      'run',
      'exec',
      'logs',
      'list',
      'state',
      'kill',
      'stop',
      'rm',
      'pull',
      'images',
      'rmi',
      'load',
      'doctor',
      'gc',
    ])
      expect(help).toMatch(new RegExp(`^  ${verb}\\b`, 'm'));
    expect(help).toContain('Examples:');
    expect(await tskata.ok('run', '--help')).toContain('tskata run --rm -it');
    for (const words of [['bogus'], ['--bogus'], ['state']])
      expect((await tskata.call(words)).status, words[0]).toBe(1);
    expect((await tskata.call(['lits'])).stderr).toContain('list');
  });
});
