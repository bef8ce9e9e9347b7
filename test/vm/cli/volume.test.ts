/** Host directories and files in a container: seen soon from both sides, and nothing beside them. */
import {
  appendFileSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../../runtime/host/process.ts';
import { ending, eventually, Tskata, watchOutput } from '../../helpers/tskata.ts';

/** A write on one side is seen by a fresh open on the other after this time at the latest. */
const SEEN_MS = 1_500;

/** Maps the first six bytes of a file shared, prints and replaces them; holds a lock until its input ends, or tries to. */
const SHARE_PROGRAM = `
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>
int main(int count, char **words) {
  int fd = open(words[2], O_RDWR);
  if (strcmp(words[1], "map") == 0) {
    char *bytes = mmap(0, 6, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) return 1;
    printf("%.6s\\n", bytes);
    memcpy(bytes, words[3], 6);
    return msync(bytes, 6, MS_SYNC);
  }
  int held = flock(fd, LOCK_EX | LOCK_NB) == 0;
  puts(held ? words[1][0] == 'l' ? "held" : "free" : "busy");
  fflush(stdout);
  if (words[1][0] == 'l') read(0, words[1], 1);
  return 0;
}
`;

describe('volumes', () => {
  let tskata: Tskata;
  let data: string;
  let id: string;

  beforeAll(async () => {
    tskata = await Tskata.withBusybox();
    data = join(tskata.directory, 'data');
    mkdirSync(join(data, 'inner/deep'), { recursive: true });
    writeFileSync(join(data, 'host'), 'first\n');
    writeFileSync(join(data, 'owned'), '', { mode: 0o640 });
    writeFileSync(join(tskata.directory, 'outside'), 'secret\n');
    writeFileSync(join(tskata.directory, 'single'), 'one file\n');
    symlinkSync('/etc/shadow', join(data, 'shadow'));
    symlinkSync('../outside', join(data, 'up'));
    symlinkSync('inner', join(data, 'alias'));
    await run('chown', ['1234:2345', join(data, 'owned')], { timeoutMs: 5_000 });
    writeFileSync(join(tskata.directory, 'share.c'), SHARE_PROGRAM);
    const compile = ['-static', '-o', join(data, 'share'), join(tskata.directory, 'share.c')];
    await run('gcc', compile, { timeoutMs: 30_000 });
    id = await tskata.ok(
      ...['run', '-d', '-v', `${data}:/data`, '-v', `${data}:/ro:ro`, '-v', `${data}/inner/deep:/data/alias/nested`],
      ...['-v', `${tskata.directory}/single:/etc/single`, '-v', `${tskata.directory}/made/here:/made`],
      ...['--mount', `type=bind,source=${data}/inner,target=/m,readonly`, '--mount', 'type=tmpfs,dst=/t,tmpfs-size=1m'],
      ...['--tmpfs', '/scratch:size=2m,mode=700', 'busybox', 'sleep', '1000'],
    );
  });
  afterAll(async () => {
    await tskata.ok('rm', '-f', id);
    tskata.dispose();
  });

  /** Runs a shell line in the container. */
  async function sh(line: string): Promise<string> {
    const { stdout, stderr } = await tskata.call(['exec', id, 'sh', '-c', `{ ${line}\n} 2>&1`]);
    return `${stdout}${stderr}`.trim();
  }

  it('show what the host writes, with its owner', async () => {
    expect(await sh('cat /data/host; stat -c "%u:%g %a" /data/owned')).toBe('first\n1234:2345 640');
    // The guest has read it: what it keeps must not hide a change.
    const watching = sh(
      'i=0; while [ $i -lt 100 ]; do grep -q second /data/host && [ -e /data/new ] && echo seen after $i && break; i=$((i + 1)); sleep 0.05; done',
    );
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const began = performance.now();
    appendFileSync(join(data, 'host'), 'second\n');
    writeFileSync(join(data, 'new'), '');
    expect(await watching).toMatch(/seen after/);
    expect(performance.now() - began).toBeLessThan(SEEN_MS + 500);
  });

  it('show the host what the container writes, with its owner', async () => {
    const line = 'echo hello > /data/inside; chown 77:88 /data/inside; chmod 604 /data/inside; echo x >> /data/host';
    expect(await sh(line)).toBe('');
    // At once, without another look.
    expect(readFileSync(join(data, 'inside'), 'utf8')).toBe('hello\n');
    const { uid, gid, mode } = statSync(join(data, 'inside'));
    expect([uid, gid, mode & 0o777]).toEqual([77, 88, 0o604]);
    expect(readFileSync(join(data, 'host'), 'utf8')).toMatch(/x\n$/);
  });

  it('are read-only, nested, single files and made when missing', async () => {
    expect(await sh('echo x > /ro/x')).toContain('Read-only file system');
    expect(await sh('echo x > /m/x')).toContain('Read-only file system');
    expect(await sh('touch /ro/host')).toContain('Read-only file system');
    expect(await sh('echo changed >> /etc/single; cat /etc/single')).toBe('one file\nchanged');
    expect(readFileSync(join(tskata.directory, 'single'), 'utf8')).toBe('one file\nchanged\n');
    expect(await sh('touch /made/x; touch /data/alias/nested/deep-file')).toBe('');
    expect(existsSync(join(tskata.directory, 'made/here/x'))).toBe(true);
    expect(existsSync(join(data, 'inner/deep/deep-file'))).toBe(true);
    expect(await sh('df -k /t /scratch | grep -v Filesystem | tr -s " " | cut -d" " -f2,6; stat -c %a /scratch')).toBe(
      '1024 /t\n2048 /scratch\n700',
    );
  });

  it('let nothing outside them be reached', async () => {
    // Links are followed inside the container: its own /etc/shadow or none, and nothing above the volume.
    const shadow = readFileSync('/etc/shadow', 'utf8');
    expect(shadow).not.toContain(await sh('cat /data/shadow | head -1; echo'));
    expect(await sh('cat /data/up')).toContain('No such file');
    expect(await sh('cat /data/../../outside; ls /data/../.. | grep -c outside')).not.toContain('secret');
    expect(
      await sh('ln -s ../../../../../../etc/passwd /data/mine; echo gone > /data/mine; head -1 /etc/passwd'),
    ).toContain('gone');
    expect(readFileSync('/etc/passwd', 'utf8')).not.toContain('gone');
    linkSync(join(data, 'host'), join(data, 'second-name'));
    expect(await sh('stat -c %h /data/second-name')).toBe('2');
  });

  it('hold no device of the host', async () => {
    expect(await sh('mknod /data/disk b 8 0; mknod /data/null c 1 3; mkfifo /data/pipe; ls /data')).toMatch(
      /mknod: .*(permitted|denied)/,
    );
    const kinds = readdirSync(data).map((name) => lstatSync(join(data, name)));
    expect(kinds.some((info) => info.isBlockDevice() || info.isCharacterDevice())).toBe(false);
    await run('mknod', [join(data, 'zero'), 'c', '1', '5'], { timeoutMs: 5_000 });
    expect(await sh('head -c1 /data/zero | wc -c')).toMatch(/denied|permitted|No such device/);
    rmSync(join(data, 'zero'));
  });

  it('are mapped shared: both sides see what the other wrote', async () => {
    writeFileSync(join(data, 'map'), 'host..');
    expect(await sh('/data/share map /data/map guest. && cat /data/map')).toBe('host..\nguest.');
    await eventually(() => readFileSync(join(data, 'map'), 'utf8') === 'guest.', SEEN_MS, 'the host sees it');
    writeFileSync(join(data, 'map'), 'again.');
    await new Promise((resolve) => setTimeout(resolve, SEEN_MS));
    expect(await sh('/data/share map /data/map third.')).toBe('again.');
  });

  it('take locks between processes of the sandbox', async () => {
    writeFileSync(join(data, 'lock'), '');
    const holder = tskata.start(['exec', '-i', id, '/data/share', 'lock', '/data/lock']);
    const ended = ending(holder);
    await watchOutput(holder).until(/held/);
    expect(await sh('/data/share try /data/lock')).toBe('busy');
    // They end at the sandbox, as the README says: the host does not see them, nor its locks the guest.
    const host = await run(join(data, 'share'), ['try', join(data, 'lock')], { timeoutMs: 10_000 });
    expect(host.stdout).toBe('free');
    holder.stdin?.end();
    await ended;
    expect(await sh('/data/share try /data/lock')).toBe('free');
  });

  it('refuse what cannot be shared before a machine is started', async () => {
    const cases: [string[], RegExp][] = [
      [['--mount', `type=bind,source=${data}/none,target=/x`], /there is no such file or directory - create it first/],
      [['-v', '/dev/null:/x'], /it is a device - only files and directories can be shared/],
      [['-v', `${data}:/x`, '--tmpfs', '/x'], /mount on \/x: asked for twice/],
      [['-v', `${data}/host/x:/x`], /ENOTDIR|not a directory/],
    ];
    for (const [flags, message] of cases) {
      const { status, stderr } = await tskata.call(['run', '--rm', ...flags, 'busybox', 'true']);
      expect(stderr).toMatch(message);
      expect(status, flags.join(' ')).toBe(125);
    }
    expect(tskata.records()).toHaveLength(2);
  });
});
