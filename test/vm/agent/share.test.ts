/** virtio-fs shares in a real guest, and what a share that does not answer may not stop. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runContainer, runExec } from '../../helpers/agent-programs.ts';
import { type AgentVm, powerOff, startAgentVm } from '../../helpers/agent-vm.ts';
import { rootStorages, testProcess, testSpec } from '../../helpers/container-defaults.ts';
import { makeTestDisks, run, type TestDisks } from '../../helpers/test-disks.ts';
import { eventually } from '../../helpers/tskata.ts';

/** Whoever of the two sides says it first. */
const DEADLINE_EXCEEDED = 4;
const VIRTIOFSD = '/usr/lib/qemu/virtiofsd';
/** How long a guest believes what it has been told of a share's names (cache=auto), and some more. */
const SHARE_CACHE_MS = 1_500;

let disks: TestDisks;
let vm: AgentVm;
let daemon: ChildProcess;
let share: string;

beforeAll(async () => {
  disks = await makeTestDisks();
  share = join(disks.directory, 'share');
  await mkdir(join(share, 'sub'), { recursive: true });
  await writeFile(join(share, 'file'), 'of the host\n');
  await writeFile(join(share, 'sub/inner'), 'inner\n');
  await symlink('/etc/passwd', join(share, 'link'));
  await symlink('../../../../../..', join(share, 'up'));
  await run('unsquashfs', ['-q', '-n', '-d', join(share, 'root'), disks.busybox]);
  const socket = join(disks.directory, 'fs.sock');
  daemon = spawn(VIRTIOFSD, [`--socket-path=${socket}`, '-o', `source=${share},cache=auto,no_posix_lock,xattr`, '-f'], {
    stdio: 'ignore',
  });
  while (!(await stat(socket).catch(() => undefined))) await new Promise((resolve) => setTimeout(resolve, 20));
  const scratch = await disks.scratch('scratch');
  vm = await startAgentVm({
    disks: [
      { path: disks.busybox, readOnly: true },
      { path: scratch, readOnly: false },
    ],
    qemu: [
      ...['-object', 'memory-backend-memfd,id=mem,size=512M,share=on', '-machine', 'memory-backend=mem'],
      ...['-chardev', `socket,id=fs,path=${socket}`, '-device', 'vhost-user-fs-pci,chardev=fs,tag=host,addr=10.0'],
    ],
  });
  await vm.call.createSandbox({ sandboxId: 'sb' });
});

afterAll(async () => {
  try {
    daemon.kill('SIGCONT');
    await powerOff(vm);
  } finally {
    daemon.kill('SIGKILL');
    await disks.remove();
  }
});

test('a share is a volume, whole, in part, as a file and read-only', async () => {
  const storages = [
    ...rootStorages('v'),
    { id: 'all', share: { tag: 'host', subpath: '', readOnly: false } },
    { id: 'part', share: { tag: 'host', subpath: 'sub', readOnly: true } },
  ];
  const script = `cat /all/file /part/inner /one; echo guest > /all/new; echo no > /part/new || echo refused
    cat /all/link | head -1 | cut -d: -f1; chown 5:6 /all/new`;
  const spec = testSpec(['sh', '-c', script], {
    mounts: [
      ...(testSpec(['x']).mounts ?? []),
      { destination: '/all', type: 'bind', storageId: 'all', options: ['rbind'] },
      { destination: '/part', type: 'bind', storageId: 'part', options: ['rbind'] },
      { destination: '/one', type: 'bind', storageId: 'all', storagePath: 'file', isFile: true, options: ['bind'] },
    ],
  });
  const { stdout } = await runContainer(vm, { containerId: 'v', storages, rootfsId: 'v-root', spec });
  expect(stdout).toBe('of the host\ninner\nof the host\nrefused\nroot\n');
  expect(await readFile(join(share, 'new'), 'utf8')).toBe('guest\n');
  expect(await stat(join(share, 'new'))).toMatchObject({ uid: 5, gid: 6 });
});

test('a link of a share leads nowhere outside of it', async () => {
  const storages = [...rootStorages('l'), { id: 'all', share: { tag: 'host', subpath: '', readOnly: false } }];
  const bind = (storagePath: string) => ({
    destination: '/x',
    type: 'bind',
    storageId: 'all',
    storagePath,
    options: ['bind'],
  });
  const create = (path: string) =>
    runContainer(vm, {
      containerId: 'l',
      storages,
      rootfsId: 'l-root',
      spec: testSpec(['ls', '/x'], { mounts: [bind(path)] }),
    });
  expect((await create('up')).stdout).toContain('file\n');
  await expect(create('../..')).rejects.toMatchObject({ code: 3 });
  await expect(create('up/run')).rejects.toThrow('ENOENT');
});

test('a share is a root', async () => {
  const storages = [{ id: 'root', share: { tag: 'host', subpath: 'root', readOnly: false } }];
  const spec = testSpec(['sh', '-c', 'ls /; echo x > /written; id -un']);
  const { stdout } = await runContainer(vm, { containerId: 'r', storages, rootfsId: 'root', spec });
  expect(stdout).toContain('home\n');
  expect(stdout).toContain('root\n');
  expect(await readFile(join(share, 'root/written'), 'utf8')).toBe('x\n');
});

test('a share is there for a container that comes while the last one that had it goes', async () => {
  const request = (id: string) => ({
    containerId: id,
    // First, so that nothing delays it.
    storages: [{ id: `${id}-all`, share: { tag: 'host', subpath: '', readOnly: true } }, ...rootStorages(id)],
    rootfsId: `${id}-root`,
    spec: testSpec(['cat', '/all/file'], {
      mounts: [{ destination: '/all', type: 'bind', storageId: `${id}-all`, options: ['rbind'] }],
    }),
  });
  await vm.call.createContainer(request('go0'), { timeoutMs: 30_000 });
  for (let round = 1; round <= 8; round += 1) {
    const leaving = vm.call.deleteContainer({ containerId: `go${round - 1}` });
    await new Promise((resolve) => setTimeout(resolve, 4 * round));
    await Promise.all([leaving, vm.call.createContainer(request(`go${round}`), { timeoutMs: 30_000 })]);
    await vm.call.startContainer({ containerId: `go${round}` });
    expect(await vm.call.waitProcess({ containerId: `go${round}` })).toMatchObject({ exitStatus: 0 });
  }
  await vm.call.deleteContainer({ containerId: 'go8' });
});

test('a share that does not answer stops nothing else', async () => {
  const spec = testSpec(['sleep', '1000']);
  await vm.call.createContainer(
    { containerId: 'good', storages: rootStorages('good'), rootfsId: 'good-root', spec },
    { timeoutMs: 30_000 },
  );
  await vm.call.startContainer({ containerId: 'good' });
  const storages = [{ id: 'hang', share: { tag: 'host', subpath: 'root', readOnly: false } }];
  await vm.call.createContainer({ containerId: 'bad', storages, rootfsId: 'hang', spec }, { timeoutMs: 30_000 });
  await vm.call.startContainer({ containerId: 'bad' });
  daemon.kill('SIGSTOP');
  // Until then the guest may go by what it knows of the share.
  await new Promise((resolve) => setTimeout(resolve, SHARE_CACHE_MS));
  // Calls that need the dead share, and must not be waited for.
  const stuck = vm.call.execProcess(
    { containerId: 'bad', execId: 'e', process: testProcess(['ls', '/home']) },
    { timeoutMs: 60_000 },
  );
  const another = [{ id: 'hang2', share: { tag: 'host', subpath: 'sub', readOnly: false } }];
  const stuckCreate = vm.call.createContainer(
    { containerId: 'bad2', storages: another, rootfsId: 'hang2', spec },
    { timeoutMs: 60_000 },
  );
  const third = [{ id: 'hang3', share: { tag: 'host', subpath: 'sub', readOnly: false } }];
  const create3 = (timeoutMs: number) =>
    vm.call.createContainer({ containerId: 'late', storages: third, rootfsId: 'hang3', spec }, { timeoutMs });
  await expect(create3(300)).rejects.toMatchObject({ code: DEADLINE_EXCEEDED });
  stuck.catch(() => {});
  stuckCreate.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 500));
  const times: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const before = performance.now();
    expect((await runExec(vm, 'good', testProcess(['echo', 'alive']))).stdout).toBe('alive\n');
    await vm.call.statsContainer({ containerId: 'good' });
    await vm.call.statsContainer({ containerId: 'bad' });
    await vm.call.signalProcess({ containerId: 'bad', signal: 18 });
    times.push(performance.now() - before);
  }
  expect(Math.max(...times)).toBeLessThan(1000);
  await vm.call.signalProcess({ containerId: 'good', signal: 9 });
  await vm.call.waitProcess({ containerId: 'good' });
  await vm.call.deleteContainer({ containerId: 'good' });
  daemon.kill('SIGCONT');
  await stuck;
  await stuckCreate;
  await expect(vm.call.startContainer({ containerId: 'bad2' })).rejects.toThrow('exec: "sleep"');
  await vm.call.deleteContainer({ containerId: 'bad2' });
  // Nobody waited for this one any more: once it was made it was removed, and its id is free. Its answer may have been on
  // its way at the deadline: then it is the host that takes it back.
  await vm.call.deleteContainer({ containerId: 'late' }).catch(() => {});
  let refused = '';
  const isMade = (): Promise<boolean> =>
    create3(30_000).then(
      () => true,
      (error: Error) => {
        refused = error.message;
        return false;
      },
    );
  await eventually(isMade, 40_000, 'the id of a late container').catch(() => expect.fail(refused));
  await vm.call.deleteContainer({ containerId: 'late' });
  await vm.call.signalProcess({ containerId: 'bad', signal: 9, all: true });
  await vm.call.waitProcess({ containerId: 'bad' });
  await vm.call.deleteContainer({ containerId: 'bad' });
});

test('what a share was used for is unmounted', async () => {
  const spec = testSpec(['cat', '/proc/1/mountinfo']);
  const { stdout } = await runContainer(vm, {
    containerId: 'u',
    storages: rootStorages('u'),
    rootfsId: 'u-root',
    spec,
  });
  expect(stdout).not.toContain('virtiofs');
  await rm(join(share, 'root'), { recursive: true });
});
