/** What `tskata run` says and leaves when the host lacks something, or something on it is broken. */
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../runtime/host/process.ts';
import { BUILD, ending, Tskata, watchOutput } from '../helpers/tskata.ts';

/** Nothing of these may come near the time of a boot that was tried and given up. */
const QUICK_MS = 15_000;

describe('a host that lacks something', () => {
  let tskata: Tskata;

  beforeAll(async () => {
    tskata = await Tskata.withBusybox();
  });
  afterEach(() => expect(tskata.leaks()).toEqual([]));
  afterAll(() => tskata.dispose());

  /** Runs and expects 125 with a message, soon. */
  async function refused(args: readonly string[], message: string | RegExp, own: Tskata = tskata): Promise<void> {
    const began = performance.now();
    const { status, stderr } = await own.call(['run', '--rm', ...args]);
    expect(stderr, args.join(' ')).toMatch(message);
    expect(status, args.join(' ')).toBe(125);
    expect(performance.now() - began).toBeLessThan(QUICK_MS);
  }

  /** A shell line as in a mount namespace of its own, with TSKATA for the command. */
  async function withMounts(line: string): Promise<{ status: number; text: string }> {
    const env = Object.fromEntries(Object.entries(tskata.env).filter((entry): entry is [string, string] => !!entry[1]));
    const child = await run('unshare', ['-m', 'sh', '-c', `{ ${line}\n} 2>&1; echo "status $?"`], {
      timeoutMs: 60_000,
      env: { ...env, TSKATA: join(tskata.build, 'bin/tskata'), W: tskata.directory },
    });
    return { status: Number(/status (\d+)\s*$/.exec(child.stdout)?.[1] ?? -1), text: child.stdout };
  }

  it.each(['vmlinux', 'initrd.img'])('names the guest file that is missing: %s', async (file) => {
    const build = join(tskata.directory, `without-${file}`);
    cpSync(BUILD, build, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => !path.endsWith('/node') && !path.startsWith(join(BUILD, 'test')),
    });
    symlinkSync(join(BUILD, 'lib/node'), join(build, 'lib/node'));
    rmSync(join(build, 'lib/guest', file));
    const own = new Tskata(build);
    await own.ok('load', '--builtin', 'busybox');
    await refused(['busybox', 'true'], new RegExp(`guest/${file}`), own);
    own.dispose();
    rmSync(build, { recursive: true });
  });

  it('has not the memory that is asked for', async () => {
    await refused(
      ['--memory', '900g', 'busybox', 'true'],
      /MiB of memory, more than the \d+ MiB of this host; ask for less/,
    );
    await refused(['--annotation', 'io.tskata.sandbox.memory=900000', 'busybox', 'true'], /ask for less/);
  });

  it('has the port in use', async () => {
    const server = createServer().listen(0, '0.0.0.0');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as { port: number };
    await refused(['-p', `${port}:80`, 'busybox', 'true'], `publish port 0.0.0.0:${port}: it is in use on this host`);
    server.close();
  });

  it('has no such image: no machine is started for it', async () => {
    await refused(['--pull', 'never', 'nobody/has-this', 'true'], 'the image is not here');
    await refused(['docker-archive:/does/not/exist.tar', 'true'], /no such file|does not exist|not found|ENOENT/i);
  });

  it('has a layer file that was cut short', async () => {
    const own = await Tskata.withBusybox();
    const [layer = ''] = readdirSync(join(own.libRoot, 'layers')).filter((name) => /\.(erofs|squashfs)$/.test(name));
    truncateSync(join(own.libRoot, 'layers', layer), 100_000);
    const began = performance.now();
    const result = await own.call(['run', '--rm', 'busybox', 'true']);
    expect(result.status).toBeGreaterThanOrEqual(125);
    expect(result.stderr).toMatch(/^tskata: ./);
    expect(performance.now() - began).toBeLessThan(30_000);
    own.dispose();
  });

  it('has no virtiofsd, or no passt', async () => {
    const share = await withMounts(
      'mount -t tmpfs none /usr/lib/qemu; for f in /usr/libexec/virtiofsd /usr/bin/virtiofsd; do ' +
        '[ -e $f ] && mount --bind /dev/null $f; done; $TSKATA run --rm -v /tmp:/x busybox true',
    );
    expect(share.text).toMatch(/virtiofsd/);
    expect(share.status).toBe(125);
    // A whiteout over the program.
    const network = await withMounts(
      'mkdir $W/up $W/work; mount -t tmpfs none $W/up; mkdir $W/up/u $W/up/w; mknod $W/up/u/passt c 0 0; ' +
        'mount -t overlay -o lowerdir=/usr/bin,upperdir=$W/up/u,workdir=$W/up/w none /usr/bin; ' +
        '$TSKATA run --rm busybox true; s=$?; $TSKATA run --rm --network none busybox echo without && (exit $s)',
    );
    expect(network.text).toContain('passt is not installed - install the package passt, or use --network none');
    expect(network.text).toContain('without\n');
    expect(network.status).toBe(125);
  });

  it('has a full disk: the program is told, and no machine hangs', async () => {
    const result = await withMounts(
      'mkdir $W/small; mount -t tmpfs -o size=12m none $W/small; export TSKATA_LIB_ROOT=$W/small; ' +
        '$TSKATA load --builtin busybox && ' +
        'timeout 40 $TSKATA run --rm busybox sh -c "dd if=/dev/zero of=/big bs=1M count=64 conv=fsync; echo wrote $?"',
    );
    // What dd says: of the whole host disk the guest sees an I/O error, not its own disk's end.
    expect(result.text).toMatch(/dd: .*(error|No space)/i);
    expect(result.status).toBe(0);
  });

  it('keeps values of the environment out of arguments and logs, and files for their owner', async () => {
    const secret = 'hunter2-in-the-environment';
    const child = tskata.start(
      ['--debug', 'run', '--rm', '-e', 'PASSWORD', 'busybox', 'sh', '-c', 'echo up; sleep 5'],
      {
        PASSWORD: secret,
      },
    );
    const ended = ending(child);
    await watchOutput(child).until(/up/);
    const arguments_ = readdirSync('/proc').flatMap((pid) => {
      try {
        return /^\d+$/.test(pid) ? [readFileSync(`/proc/${pid}/cmdline`, 'latin1')] : [];
      } catch {
        return [];
      }
    });
    expect(arguments_.filter((text) => text.includes(secret))).toEqual([]);
    const found = (await run('grep', ['-rl', secret, tskata.runRoot, tskata.libRoot], { timeoutMs: 10_000 })).stdout;
    expect(
      found
        .trim()
        .split('\n')
        .map((path) => path.replace(/.*\//, '')),
    ).toEqual(['config.json']);
    const open = await run('find', [tskata.runRoot, tskata.libRoot, '-type', 'f', '-perm', '/077'], {
      timeoutMs: 10_000,
    });
    const state = open.stdout.split('\n').filter((path) => /default|\/s\//.test(path));
    expect(state).toEqual([]);
    const directories = await run('find', [tskata.runRoot, tskata.libRoot, '-maxdepth', '0', '-perm', '/077'], {
      timeoutMs: 10_000,
    });
    expect(directories.stdout).toBe('');
    child.kill('SIGTERM');
    await ended;
  });
});

describe('a bundle that is wrong', () => {
  let tskata: Tskata;
  let bundle: string;

  beforeAll(() => {
    tskata = new Tskata();
    bundle = join(tskata.directory, 'bundle');
    mkdirSync(join(bundle, 'rootfs'), { recursive: true });
  });
  afterAll(() => tskata.dispose());

  const good = {
    ociVersion: '1.0.2',
    root: { path: 'rootfs' },
    process: { cwd: '/', args: ['/bin/true'] },
    linux: { namespaces: [{ type: 'mount' }] },
  };

  it.each<[string, object | string, RegExp]>([
    ['not JSON', '{"ociVersion"', /config\.json/],
    ['no version', { ...good, ociVersion: undefined }, /ociVersion/],
    ['an unknown field', { ...good, linux: { namspaces: [] } }, /linux\.namspaces: unknown field/],
    ['a wrong type', { ...good, process: { ...good.process, args: 'true' } }, /process\.args/],
    ['a relative working directory', { ...good, process: { ...good.process, cwd: 'here' } }, /process\.cwd/],
    ['an unknown namespace', { ...good, linux: { namespaces: [{ type: 'moon' }] } }, /linux\.namespaces\[0\]\.type/],
    ['a prototype', JSON.stringify(good).replace('"root"', '"__proto__":{"x":1},"root"'), /__proto__/],
    ['an annotation of ours that is none', { ...good, annotations: { 'io.tskata.bogus': '1' } }, /io\.tskata\.bogus/],
    ['a root that is not there', { ...good, root: { path: 'nowhere' } }, /root\.path.*not a directory/],
  ])('is refused before anything is there: %s', async (_, config, message) => {
    writeFileSync(join(bundle, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config));
    const { status, stderr } = await tskata.call(['run', '--rm', '--bundle', bundle]);
    expect(stderr).toMatch(message);
    expect(status).toBe(125);
    expect(tskata.leaks()).toEqual([]);
  });
});
