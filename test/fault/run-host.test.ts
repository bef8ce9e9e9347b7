/** What `tskata run` says and leaves when the host lacks something, or something on it is broken. */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../runtime/host/process.ts';
import { copyBuild } from '../helpers/own-build.ts';
import { ending, Tskata, watchOutput } from '../helpers/tskata.ts';

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
    copyBuild(build);
    rmSync(join(build, 'lib/guest', file));
    const own = new Tskata(build);
    await own.ok('load', '--builtin', 'busybox');
    await refused(['busybox', 'true'], new RegExp(`guest/${file}`), own);
    own.dispose();
    rmSync(build, { recursive: true });
  });

  it('has not the memory that is asked for', async () => {
    // A container's limit may be above what there is, as with docker; a size asked for the machine may not.
    const asked = ['--annotation', 'io.tskata.sandbox.memory=900000', 'busybox', 'true'];
    await refused(asked, /900000, but this host allows \d+ to \d+; ask for less/);
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

  it('has a layer file that was cut short: it is named, with the cure, and no machine is started', async () => {
    const own = await Tskata.withBusybox();
    const [layer = ''] = readdirSync(join(own.libRoot, 'layers')).filter((name) => /\.(erofs|squashfs)$/.test(name));
    const path = join(own.libRoot, 'layers', layer);
    const { size } = statSync(path);
    truncateSync(path, 100_000);
    await refused(
      ['busybox', 'true'],
      `its layer ${path} is damaged: it has 100000 bytes instead of ${size} - remove`,
      own,
    );
    truncateSync(path, 100);
    await refused(['busybox', 'true'], `its layer ${path} is damaged: it has 100 bytes, not even one block`, own);
    writeFileSync(path, Buffer.alloc(size));
    await refused(['busybox', 'true'], `its layer ${path} is damaged: it does not begin like an EROFS image`, own);
    // The cure that the message names.
    rmSync(path);
    expect(await own.ok('run', '--rm', '--network', 'none', 'busybox', 'echo', 'cured')).toBe('cured');
    own.dispose();
  });

  it('has no virtiofsd, or no program for the user-mode network', async () => {
    const share = await withMounts(
      'mount -t tmpfs none /usr/lib/qemu; for f in /usr/libexec/virtiofsd /usr/bin/virtiofsd; do ' +
        '[ -e $f ] && mount --bind /dev/null $f; done; $TSKATA run --rm -v /tmp:/x busybox true',
    );
    expect(share.text).toMatch(/virtiofsd/);
    expect(share.status).toBe(125);
    const network = await withMounts(
      'mount --bind /dev/null $(dirname $TSKATA)/../lib/tskata-usernet; ' +
        '$TSKATA run --rm busybox true; s=$?; $TSKATA run --rm --network none busybox echo without && (exit $s)',
    );
    expect(network.text).toMatch(/tskata-usernet is missing - build and install tskata again, or use --network none/);
    expect(network.text).toContain('without\n');
    expect(network.status).toBe(125);
  });

  it('has none of the programs that others run for mounts, networks and namespaces', async () => {
    // Each is replaced by one that tells of its call, in the place where it is.
    const { status, text } = await withMounts(
      'mkdir $W/shared; printf \'#!/bin/sh\\necho "$0 $@" >>%s/called; exit 1\\n\' $W >$W/trap; chmod 755 $W/trap; ' +
        'for p in ip tc nsenter setpriv unshare iptables nft brctl umount modprobe mount; do ' +
        'f=$(command -v $p) && mount --bind $W/trap $f; done; mount 2>/dev/null; ' +
        '$TSKATA run --rm -v $W/shared:/s -p 127.0.0.1:18974:80 busybox touch /s/made && ls $W/shared && cat $W/called',
    );
    expect(status).toBe(0);
    // The one call is ours above: the trap works.
    expect(text).toMatch(/^made\n\S*mount \n/);
    expect(text.match(/\n/g)).toHaveLength(2);
  });

  it('has directories that cannot be written: they are named by their flag', async () => {
    const [lib, run] = ['$TSKATA_LIB_ROOT', '$TSKATA_RUN_ROOT'];
    for (const [line, flag] of [
      [`mount -t tmpfs -o ro none ${lib}; $TSKATA run --rm busybox true`, '--root'],
      [`mkdir -p ${run}; mount -t tmpfs -o ro none ${run}; $TSKATA run --rm --name x busybox true`, '--run-root'],
      [`export TSKATA_RUN_ROOT=$W/a-file; touch $W/a-file; $TSKATA run --rm busybox true`, '--run-root'],
    ] as const) {
      const { status, text } = await withMounts(line);
      expect(text).toMatch(new RegExp(`^tskata: ${flag} /.*: E[A-Z]+: .*; name a directory that can be written`));
      expect(status).toBe(125);
    }
  });

  it('has no room for the output: it is said, without a stack', async () => {
    const { status, text } = await withMounts('$TSKATA images >/dev/full');
    expect(text).toMatch(/^tskata: write standard output: ENOSPC.*\nstatus 1$/);
    expect(status).toBe(1);
  });

  it('forbids KVM: doctor says so to the user whom it forbids it, with the cure, and what else that user lacks', async () => {
    // A /dev of our own, as on a host with KVM, whatever this one has.
    const dev =
      'mount -t tmpfs none /dev; for d in "null c 1 3" "zero c 1 5" "random c 1 8" "urandom c 1 9"; do ' +
      'mknod -m 666 /dev/$d; done; mknod -m 600 /dev/kvm c 10 232; ln -s /proc/self/fd /dev/fd; ';
    const checks = async (prefix: string): Promise<Map<string, { state: string; fact: string; cure?: string }>> => {
      // The checkout may lie where that user has no way to.
      const programs = `mount --bind ${tskata.build} /mnt; cd /; `;
      const { text } = await withMounts(`${dev}${programs}${prefix} /mnt/bin/tskata doctor --json`);
      const report = JSON.parse(text.replace(/status \d+\s*$/, '')) as { checks: { name: string }[] };
      return new Map(report.checks.map((check) => [check.name, check as never]));
    };
    const nobody = await checks('setpriv --reuid 65534 --regid 65534 --clear-groups');
    expect(nobody.get('/dev/kvm')).toEqual({
      name: '/dev/kvm',
      state: 'note',
      fact: 'it may not be opened',
      cure: 'run as root, or join the group of /dev/kvm',
    });
    expect(nobody.get('user')).toMatchObject({ state: 'problem', fact: 'uid 65534' });
    expect(nobody.get('run state')).toMatchObject({ state: 'problem', fact: expect.stringContaining('EACCES') });
    const root = await checks('');
    expect(root.get('/dev/kvm')?.fact).not.toBe('it may not be opened');
    expect(root.get('user')?.state).toBe('ok');
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

  it('keeps values of the environment out of arguments and logs, and files for their owner', {
    timeout: 120_000,
  }, async () => {
    const secret = 'hunter2-in-the-environment';
    const child = tskata.start(
      [
        '--debug',
        'run',
        '--rm',
        '-e',
        'PASSWORD',
        'busybox',
        'sh',
        '-c',
        'trap "exit 0" TERM; echo up; while :; do sleep 0.1; done',
      ],
      {
        PASSWORD: secret,
      },
    );
    const ended = ending(child);
    const output = watchOutput(child);
    await output.until(/up/);
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
    // What --debug is for comes last, and holds no secret either.
    expect(output.text()).toMatch(/^console: .*tskata-agent: ready/m);
    expect(output.text()).not.toContain(secret);
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
