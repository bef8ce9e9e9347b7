/** `tskata run` as a person uses it: program, exit code, environment, user, limits, security. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAX_PROCESS_STRING_BYTES } from '../../../agent/protocol/limits.ts';
import { ending, Tskata } from '../../helpers/tskata.ts';

/** TSKATA_TEST_OUTPUT_MIB: more, 1024 for all that is promised. */
const PART_MIB = 32;
const PARTS = Number(process.env.TSKATA_TEST_OUTPUT_MIB ?? 128) / PART_MIB;

describe('tskata run', () => {
  let tskata: Tskata;

  beforeAll(async () => {
    tskata = await Tskata.withBusybox();
  });
  afterAll(() => tskata.dispose());

  /** Runs a shell line in busybox with flags. */
  const sh = (line: string, ...flags: string[]) => tskata.call(['run', '--rm', ...flags, 'busybox', 'sh', '-c', line]);

  it('runs in a machine of its own: output, exit code, another kernel', async () => {
    const result = await sh('uname -r; echo oops >&2; exit 7');
    expect(result.status).toBe(7);
    expect(result.stdout.trim()).not.toBe(release());
    expect(result.stdout.trim()).toMatch(/^\d+\.\d+/);
    expect(result.stderr).toBe('oops\n');
  });

  it('tells a program that is not there (127) from one that cannot run (126)', async () => {
    const missing = await tskata.call(['run', '--rm', 'busybox', 'no-such-program']);
    expect(missing.status).toBe(127);
    expect(missing.stderr).toBe('tskata: exec: "no-such-program": executable file not found in $PATH\n');
    const plain = await tskata.call(['run', '--rm', 'busybox', '/etc/passwd']);
    expect(plain.status).toBe(126);
    expect(plain.stderr).toBe('tskata: exec: "/etc/passwd": permission denied\n');
  });

  it('hands standard input on and ends it', async () => {
    const result = await tskata.call(['run', '--rm', '-i', 'busybox', 'wc', '-c'], { input: 'x'.repeat(300_000) });
    expect(result.stdout.trim()).toBe('300000');
  });

  it('loses no output: it arrives as it was sent', { timeout: 240_000 }, async () => {
    const part = randomBytes(PART_MIB * 1024 * 1024);
    const directory = join(tskata.directory, 'sent');
    mkdirSync(directory);
    writeFileSync(join(directory, 'part'), part);
    const line = `for n in $(seq ${PARTS}); do cat /sent/part; done`;
    const child = tskata.start(['run', '--rm', '-v', `${directory}:/sent:ro`, 'busybox', 'sh', '-c', line]);
    const arrived = createHash('sha256');
    child.stdout?.on('data', (bytes: Buffer) => arrived.update(bytes));
    expect(await ending(child)).toBe(0);
    const sent = createHash('sha256');
    for (let count = 0; count < PARTS; count++) sent.update(part);
    expect(arrived.digest('hex')).toBe(sent.digest('hex'));
  });

  it('sets environment, directory, host name and user', async () => {
    const file = join(tskata.directory, 'env');
    writeFileSync(file, '# comment\nFROM_FILE=1\nINHERITED\n');
    const flags = [
      '-e',
      'A=b c',
      '-e',
      'ALONE',
      '--env-file',
      file,
      '-w',
      '/made/here',
      '-u',
      '1000:1001',
      '--hostname',
      'box',
    ];
    const result = await tskata.call(
      [
        'run',
        '--rm',
        ...flags,
        'busybox',
        'sh',
        '-c',
        'echo "$A|$ALONE|$FROM_FILE|$INHERITED|$PWD|$(id -u):$(id -g)|$(hostname)|$(cat /etc/hostname)"',
      ],
      { env: { ALONE: 'own', INHERITED: 'too' } },
    );
    expect(result.stdout.trim()).toBe('b c|own|1|too|/made/here|1000:1001|box|box');
  });

  it('refuses an environment that no process can have, and leaves nothing', async () => {
    const file = join(tskata.directory, 'long.env');
    writeFileSync(file, `LONG=${'x'.repeat(MAX_PROCESS_STRING_BYTES)}\n`);
    const result = await tskata.call(['run', '--rm', '--env-file', file, 'busybox', 'true']);
    expect(result.status).toBe(125);
    expect(result.stderr).toMatch(
      /process\.env\[\d+\]: 131076 bytes; at most 131071 can be given to a process: use a file/,
    );
    expect(tskata.records()).toEqual([]);
  });

  it('looks users up in the container, and gives them their home', async () => {
    const result = await sh('echo $(id -un) $HOME');
    expect(result.stdout.trim()).toBe('root /root');
    const unknown = await sh('true', '-u', 'nobody-knows');
    expect(unknown.status).toBe(125);
    expect(unknown.stderr).toContain('nobody-knows');
  });

  it('replaces the entrypoint', async () => {
    const result = await tskata.call(['run', '--rm', '--entrypoint', 'echo', 'busybox', 'a', 'b']);
    expect(result.stdout).toBe('a b\n');
  });

  it('has a default confinement, and less of it when told', async () => {
    const usual = await sh(
      'grep -E "^(CapBnd|Seccomp|NoNewPrivs):" /proc/self/status; mount -t tmpfs none /mnt 2>&1; cat /proc/kcore 2>&1 | head -c1 | wc -c',
    );
    expect(usual.stdout).toContain('CapBnd:\t00000000a80425fb');
    expect(usual.stdout).toMatch(/Seccomp:\t2/);
    expect(usual.stdout).toContain('NoNewPrivs:\t0');
    expect(usual.stdout).toMatch(/permission denied|not permitted/i);
    const strict = await sh(
      'grep -E "^(CapBnd|NoNewPrivs):" /proc/self/status',
      '--cap-drop',
      'ALL',
      '--cap-add',
      'CHOWN',
      '--security-opt',
      'no-new-privileges',
    );
    expect(strict.stdout).toBe('CapBnd:\t0000000000000001\nNoNewPrivs:\t1\n');
    const loose = await sh(
      'grep -E "^(CapBnd|Seccomp):" /proc/self/status; mkdir /m && mount -t tmpfs none /m && echo mounted',
      '--privileged',
    );
    expect(loose.stdout).toContain('CapBnd:\t000001ffffffffff');
    expect(loose.stdout).toMatch(/Seccomp:\t0/);
    expect(loose.stdout).toContain('mounted');
  });

  it('limits memory, CPU, processes and files', async () => {
    const flags = [
      '-m',
      '64m',
      '--cpus',
      '0.5',
      '--pids-limit',
      '20',
      '--ulimit',
      'nofile=100:200',
      '--shm-size',
      '8m',
    ];
    const result = await sh(
      'cd /sys/fs/cgroup; cat memory.max cpu.max pids.max; ulimit -n; df -k /dev/shm | tail -1',
      ...flags,
    );
    expect(result.stdout).toMatch(/^67108864\n50000 100000\n20\n100\ntmpfs\s+8192 /);
    const eaten = await sh('tail /dev/zero', '-m', '32m');
    expect(eaten.status).toBe(137);
  });

  it('sets sysctls of the container', async () => {
    const result = await sh('cat /proc/sys/kernel/msgmax', '--sysctl', 'kernel.msgmax=4096');
    expect(result.stdout.trim()).toBe('4096');
  });

  it('runs a directory and a bundle of the host', async () => {
    const root = join(tskata.directory, 'tree');
    mkdirSync(join(root, 'bin'), { recursive: true });
    writeFileSync(join(root, 'bin/busybox'), readFileSync('/bin/busybox'), { mode: 0o755 });
    const tree = await tskata.call([
      'run',
      '--rm',
      '--rootfs',
      root,
      '/bin/busybox',
      'sh',
      '-c',
      'echo from $0; /bin/busybox touch /made',
    ]);
    expect(tree).toMatchObject({ status: 0, stdout: 'from sh\n', stderr: '' });
    expect(readFileSync(join(root, 'made'), 'utf8')).toBe('');
    const bundle = join(tskata.directory, 'bundle');
    mkdirSync(bundle);
    const config = {
      ociVersion: '1.0.2',
      root: { path: root },
      process: { cwd: '/', args: ['/bin/busybox', 'echo', 'bundled'] },
      linux: { namespaces: [{ type: 'mount' }, { type: 'pid' }] },
    };
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
    expect(await tskata.call(['run', '--rm', '--bundle', bundle])).toMatchObject({
      status: 0,
      stdout: 'bundled\n',
      stderr: '',
    });
    const limited = await tskata.call(['run', '--rm', '--bundle', bundle, '-m', '64m']);
    expect(limited).toMatchObject({ status: 125, stdout: '' });
    expect(limited.stderr).toContain('--memory with --bundle: a bundle says that itself');
    const process = { cwd: '/', args: ['/bin/busybox', 'ip', '-o', '-4', 'address'] };
    writeFileSync(join(bundle, 'config.json'), JSON.stringify({ ...config, process }));
    expect(await tskata.ok('run', '--rm', '--bundle', bundle)).not.toContain('10.0.2.15');
    expect(await tskata.ok('run', '--rm', '--bundle', bundle, '--network', 'user')).toContain('10.0.2.15/24');
    const named = { namespaces: [{ type: 'network', path: '/run/netns/pod' }] };
    writeFileSync(join(bundle, 'config.json'), JSON.stringify({ ...config, linux: named }));
    const two = await tskata.call(['run', '--rm', '--bundle', bundle, '-p', '8080:80']);
    expect(two.stderr).toContain('its config.json names the network namespace /run/netns/pod, which is its network');
    writeFileSync(join(bundle, 'config.json'), JSON.stringify({ ...config, linux: { namspaces: [] } }));
    const wrong = await tskata.call(['run', '--rm', '--bundle', bundle]);
    expect(wrong.status).toBe(125);
    expect(wrong.stderr).toContain('linux.namspaces: unknown field');
  });

  it('writes the id where it is asked to, once', async () => {
    const file = join(tskata.directory, 'cid');
    expect((await sh('true', '--cidfile', file)).status).toBe(0);
    expect(readFileSync(file, 'utf8')).toMatch(/^[0-9a-f]{64}$/);
    expect((await sh('true', '--cidfile', file)).stderr).toContain('EEXIST');
  });

  it('refuses what cannot be before anything is there', async () => {
    const cases: [string[], string][] = [
      [['--memory', '1m'], '--memory 1m: the least is 6m'],
      [['--rootfs', '/does/not/exist'], 'not a directory'],
      [['--cap-add', 'FLY'], '--cap-add FLY: not a capability'],
      [['--volume', 'data:/x'], 'named volumes are not supported'],
      [['--sysctl', 'nonsense'], 'write NAME=VALUE'],
      [['--network', 'host'], 'Allowed choices are none, user'],
      [['--storage', 'big'], '--storage big: not a size'],
      [['--bogus'], "unknown option '--bogus'"],
    ];
    for (const [flags, message] of cases) {
      const result = await tskata.call(['run', '--rm', ...flags, 'busybox', 'true']);
      expect(result.status, flags.join(' ')).toBe(125);
      expect(result.stderr, flags.join(' ')).toContain(message);
    }
    expect(tskata.leaks()).toEqual([]);
  });
});
