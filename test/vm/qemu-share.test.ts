/** A host directory through virtio-fs, cold and hot: what both sides see, and what the guest must not reach. */
import { execFile } from 'node:child_process';
import { chmod, chown, cp, lstat, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AgentConnection } from '../../runtime/agent-client/agent-connection.ts';
import type { Vm } from '../../runtime/vm/vm.ts';
import { type Outcome, runContainer } from '../helpers/agent-programs.ts';
import type { AgentVm } from '../helpers/agent-vm.ts';
import { testSpec } from '../helpers/container-defaults.ts';
import { connect, type FactoryHarness, openFactoryHarness } from '../helpers/qemu-factory.ts';

const run = promisify(execFile);
const UID = 1234;
/** Maps a file shared, prints what is there, writes through the mapping; then locks it, and tries again as another. */
const MAPPER = `
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>
int main(int argc, char **argv) {
  int fd = open(argv[1], O_RDWR), other = open(argv[1], O_RDWR);
  char *p = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fd < 0 || p == MAP_FAILED) return 1;
  printf("%.6s\\n", p);
  p[0] = 'M';
  if (msync(p, 4096, MS_SYNC) != 0) return 2;
  if (flock(fd, LOCK_EX) != 0) return 3;
  puts(flock(other, LOCK_EX | LOCK_NB) == 0 ? "both" : "held");
  return flock(fd, LOCK_UN) != 0 || flock(other, LOCK_EX | LOCK_NB) != 0;
}`;

let harness: FactoryHarness;
let vm: Vm;
let connection: AgentConnection;
let root: string;
let late: string;
let sealed: string;
let counter = 0;

/** Runs a script in a container whose root is the cold share; `late` and `sealed` are mounted in it. */
async function script(text: string, uid = 0): Promise<Outcome> {
  counter += 1;
  const id = `c${counter}`;
  const storages = [
    { id: `${id}-root`, share: { tag: 'root', subpath: '', readOnly: false } },
    { id: `${id}-late`, share: { tag: 'late', subpath: '', readOnly: false } },
    { id: `${id}-sealed`, share: { tag: 'sealed', subpath: '', readOnly: false } },
  ];
  const spec = testSpec(['sh', '-c', text]);
  const mounts = [
    ...(spec.mounts ?? []),
    { destination: '/late', type: 'bind', storageId: `${id}-late`, options: ['rbind', 'rw'] },
    { destination: '/sealed', type: 'bind', storageId: `${id}-sealed`, options: ['rbind', 'rw'] },
  ];
  const process = { ...spec.process, user: { uid, gid: uid } };
  const agentVm = { connection, call: connection.call } as unknown as AgentVm;
  const request = { containerId: id, storages, rootfsId: `${id}-root`, spec: { ...spec, mounts, process } };
  return runContainer(agentVm, request);
}

beforeAll(async () => {
  harness = await openFactoryHarness();
  root = join(harness.runRoot, 'root');
  late = join(harness.runRoot, 'late');
  sealed = join(harness.runRoot, 'sealed');
  await writeFile(join(harness.runRoot, 'outside'), 'outside');
  for (const directory of ['bin', 'proc', 'sys', 'dev', 'tmp', 'late', 'sealed']) {
    await mkdir(join(root, directory), { recursive: true });
  }
  await cp('/bin/busybox', join(root, 'bin/busybox'));
  await symlink('busybox', join(root, 'bin/sh'));
  await writeFile(join(harness.runRoot, 'mapper.c'), MAPPER);
  await run('gcc', ['-static', '-O1', '-o', join(root, 'bin/mapper'), join(harness.runRoot, 'mapper.c')]);
  for (const directory of [late, sealed]) await mkdir(directory);
  await chmod(late, 0o777);
  await writeFile(join(sealed, 'file'), 'sealed');
  const { factory } = await harness.factory();
  vm = await factory.start(harness.config({ shares: [{ tag: 'root', directory: root, readOnly: false }] }));
  connection = await connect(vm, true);
  const wallClockNs = BigInt(Date.now()) * 1_000_000n;
  await connection.call.createSandbox({ sandboxId: 's', hostname: 's', wallClockNs, entropy: new Uint8Array(64) });
  await vm.attachShare({ tag: 'late', directory: late, readOnly: false });
  await vm.attachShare({ tag: 'sealed', directory: sealed, readOnly: true });
});

afterAll(async () => {
  connection.close();
  await vm.stop();
  await harness.close();
});

describe('a share', () => {
  it('carries writes both ways, with their owner', async () => {
    await writeFile(join(late, 'from-host'), 'hello');
    await chown(join(late, 'from-host'), UID, UID);
    const { stdout, status } = await script(
      'busybox cat /late/from-host; echo; busybox stat -c %u:%g /late/from-host; echo answer > /late/from-guest',
      UID,
    );
    expect(stdout).toBe(`hello\n${UID}:${UID}\n`);
    expect(status).toBe(0);
    expect(await readFile(join(late, 'from-guest'), 'utf8')).toBe('answer\n');
    expect((await stat(join(late, 'from-guest'))).uid).toBe(UID);
  });

  it('shows a write of the host to a fresh open within 1.5 s', async () => {
    await writeFile(join(late, 'clock'), 'before');
    const work = script(
      'busybox cat /late/clock; echo; while [ ! -e /late/go ]; do busybox sleep 0.1; done; busybox sleep 1.5; busybox cat /late/clock',
    );
    await new Promise((resolve) => setTimeout(resolve, 3000));
    await writeFile(join(late, 'clock'), 'after!');
    await writeFile(join(late, 'go'), '');
    expect((await work).stdout).toBe('before\nafter!');
  });

  it('maps files shared, and locks them', async () => {
    await writeFile(join(late, 'mapped'), 'mapped by the host'.padEnd(4096, '.'));
    const { stdout, status } = await script('mapper /late/mapped');
    expect(status).toBe(0);
    expect(stdout).toBe('mapped\nheld\n');
    expect(await readFile(join(late, 'mapped'), 'utf8')).toMatch(/^Mapped by the host/);
  });

  it('cannot be written when it is read-only, even after a remount in the guest', async () => {
    const { stdout } = await script(
      'busybox cat /sealed/file; echo; echo x > /sealed/new || echo refused; busybox rm /sealed/file || echo kept',
    );
    expect(stdout).toBe('sealed\nrefused\nkept\n');
    expect(await readFile(join(sealed, 'file'), 'utf8')).toBe('sealed');
  });

  it('shows nothing outside of it, and makes no device node on the host', async () => {
    await symlink(join(harness.runRoot, 'outside'), join(late, 'absolute'));
    await symlink('../outside', join(late, 'relative'));
    const { stdout } = await script(
      'busybox cat /late/absolute || echo no; busybox cat /late/relative || echo no; busybox mknod /late/disk b 8 0 || echo no node',
    );
    expect(stdout).toBe('no\nno\nno node\n');
    await expect(lstat(join(late, 'disk'))).rejects.toThrow(/ENOENT/);
  });

  it('makes its machine unfit to be saved', async () => {
    await vm.pause();
    await expect(vm.save(join(harness.runRoot, 'never'))).rejects.toThrow(/file shares/);
    await vm.resume();
    await expect(vm.attachShare({ tag: 'late', directory: late, readOnly: false })).rejects.toThrow(
      /tag late is taken/,
    );
    await expect(vm.attachShare({ tag: 'x', directory: '/no/such', readOnly: false })).rejects.toThrow(/\/no\/such/);
  });
});
