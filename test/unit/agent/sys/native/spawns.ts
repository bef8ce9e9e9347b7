/** Cases: spawn plans. */
import {
  close,
  mkdir,
  mkdirAll,
  open,
  readFile,
  readlink,
  symlink,
  writeFile,
} from '../../../../../agent/sys/calls.ts';
import { AT, CLD, CLONE, MS, O, SIG, SIG_HOW } from '../../../../../agent/sys/linux.ts';
import type { SlotRef, Step } from '../../../../../agent/sys/plan.ts';
import { pidfdGetfd, pidfdSendSignal } from '../../../../../agent/sys/processes.ts';
import { sigset, utf8 } from '../../../../../agent/sys/structs.ts';
import { SYS } from '../../../../../agent/sys/syscalls.ts';
import {
  assert,
  type Case,
  delay,
  E,
  ended,
  equal,
  NAMESPACES,
  nextPacket,
  output,
  plan,
  runPlan,
  shell,
  slot,
  spawn,
  sys,
} from './kit.ts';

const GO = Uint8Array.of(1);
const hold: Step = { op: 'sync', name: 'hold', label: 'hold' };

function resolveStep(root: SlotRef, path: string, result: number, more: Partial<Step & { op: 'resolve' }> = {}): Step {
  return {
    op: 'resolve',
    root,
    path,
    leaf: 'any',
    create: false,
    mode: 0o755,
    result,
    label: `resolve ${path}`,
    ...more,
  };
}

export const spawnCases: Record<string, Case> = {
  async exec() {
    equal(await output('echo "$0 $1"; exit 3'), 'sh [exit 3]', 'status');
    equal((await runPlan(plan([{ op: 'exit', status: 7, label: 'exit' }]))).end, [CLD.EXITED, 7], 'exit step');
    const searched: Step = {
      op: 'exec',
      path: 'true',
      argv: ['true'],
      env: [],
      searchPath: ['/nonexistent', '/etc', '/etc/passwd', '/bin'],
      label: 'exec',
    };
    const { packets, end } = await runPlan(plan([searched]));
    equal([packets, end], [[], [CLD.EXITED, 0]], 'search path');
  },

  async 'failing steps'() {
    const exec = (path: string, searchPath: readonly string[] = []): Step => ({
      op: 'exec',
      path,
      argv: [path],
      env: [],
      searchPath,
      label: 'exec',
    });
    const call = (nr: number, args: (string | number)[], ignore: number[] = []): Step => ({
      op: 'call',
      nr,
      args,
      ignore,
      label: 'call',
    });
    const expectations: [Step[], number, number][] = [
      [[call(SYS.umask, [0o22]), exec('/nonexistent')], 1, E.ENOENT],
      [[exec('nothing-like-that', ['/bin', '/usr/bin'])], 0, E.ENOENT],
      [[exec('passwd', ['/nonexistent', '/etc'])], 0, E.EACCES],
      [[exec('', ['/bin'])], 0, E.ENOENT],
      [[exec('/etc/passwd')], 0, E.EACCES],
      [[call(SYS.chdir, ['/nonexistent'], [E.EPERM, E.ENOENT]), call(SYS.chdir, ['/etc/passwd'])], 1, E.ENOTDIR],
      [[{ op: 'write', path: '/proc/self/oom_score_adj', bytes: utf8('nonsense'), label: 'write' }], 0, E.EINVAL],
      [[call(SYS.umask, [0])], 1, E.EINVAL],
    ];
    for (const [steps, step, errno] of expectations) {
      const { packets, end } = await runPlan(plan(steps));
      equal(packets, [{ kind: 2, step, errno, fd: -1 }], `step ${step}`);
      equal(end, [CLD.EXITED, 127], 'end');
    }
  },

  async sync() {
    const open: Step = { op: 'call', nr: SYS.openat, args: [AT.FDCWD, '/etc/hostname', 0], result: 5, label: 'open' };
    const child = spawn(plan([open, { op: 'sync', name: 'fd', fd: slot(5), label: 'fd' }, shell('exit 4')]));
    const packet = await nextPacket(child);
    assert(packet !== undefined && packet.kind === 1 && packet.step === 1 && packet.fd > 2, JSON.stringify(packet));
    const fd = pidfdGetfd(sys, child.pidfd, packet.fd);
    equal(readlink(sys, `/proc/self/fd/${fd}`), '/etc/hostname', 'descriptor of the child');
    equal(readFile(sys, `/proc/${child.pid}/status`).match(/SigBlk:\s*(\w+)/)?.[1], '0000000000000000', 'mask');
    sys.write(child.statusFd, GO, 0, 1);
    equal(await nextPacket(child), undefined, 'exec');
    equal(await ended(child), [CLD.EXITED, 4], 'end');
  },

  async 'sync without a parent'() {
    // Another child is alive meanwhile: its copies of our descriptors must not keep the first one waiting.
    const first = spawn(plan([hold, shell('exit 0')]));
    const second = spawn(plan([hold, shell('exit 0')]));
    await nextPacket(first);
    await nextPacket(second);
    const copy = open(sys, '/dev/null', O.RDONLY);
    sys.call(SYS.dup3, copy, first.statusFd, 0x80000);
    equal((await ended(first))[1], 127, 'ends without the byte');
    pidfdSendSignal(sys, second.pidfd, SIG.KILL);
    equal(await ended(second), [CLD.KILLED, SIG.KILL], 'killed');
  },

  async 'signals and descriptors'() {
    sys.call(SYS.rt_sigprocmask, SIG_HOW.BLOCK, sigset([SIG.TERM, SIG.CHLD]), null, 8);
    const leak = open(sys, '/etc/passwd', O.RDONLY);
    sys.call(SYS.fcntl, leak, 2, 0);
    const status = await output('grep -E "^Sig(Blk|Ign|Cgt)" /proc/self/status; ls -l /proc/self/fd | grep -c passwd');
    const lines = status.split('\n').map((line) => line.replace(/\s+/, ' '));
    // The shell itself handles SIGCHLD or nothing, depending on its version.
    equal(lines.slice(0, 2), ['SigBlk: 0000000000000000', 'SigIgn: 0000000000000000'], 'signals');
    equal(lines[lines.length - 1]?.startsWith('0'), true, 'no other descriptors');
    sys.call(SYS.rt_sigprocmask, SIG_HOW.UNBLOCK, sigset([SIG.TERM, SIG.CHLD]), null, 8);
  },

  async 'descriptors from three on'() {
    const [a, b] = [open(sys, '/etc/hostname', O.RDONLY), open(sys, '/etc/passwd', O.RDONLY)];
    const fds = [slot(0), slot(1), slot(2), slot(9), slot(8), slot(9)] as const;
    const steps: Step[] = [
      { op: 'stdio', fds, label: 'stdio' },
      shell(
        '[ "$(readlink /proc/$$/fd/3) $(readlink /proc/$$/fd/4) $(readlink /proc/$$/fd/5)" = "/etc/passwd /etc/hostname /etc/passwd" ] && [ ! -e /proc/$$/fd/6 ] && [ "$(readlink /proc/$$/fd/0)" = /dev/null ]',
      ),
    ];
    const nothing = open(sys, '/dev/null', O.RDWR);
    // Crossed on purpose: sources whose numbers are targets.
    const { end } = await runPlan(plan(steps, { slots: { 0: nothing, 1: 1, 2: 2, 8: a, 9: b } }));
    equal(end, [CLD.EXITED, 0], 'descriptors');
    const crossed: Step[] = [
      { op: 'stdio', fds: [slot(2), slot(0), slot(1)], label: 'stdio' },
      shell(
        '[ "$(readlink /proc/$$/fd/0)" = /etc/passwd ] && [ "$(readlink /proc/$$/fd/1)" = /dev/null ] && [ "$(readlink /proc/$$/fd/2)" = /etc/hostname ]',
      ),
    ];
    const shuffled = spawn(
      plan([{ op: 'call', nr: SYS.dup2, args: [slot(3), 0], label: 'dup' }, ...crossed], {
        slots: { 0: nothing, 1: a, 2: b, 3: a },
      }),
    );
    equal(await nextPacket(shuffled), undefined, 'exec');
    equal(await ended(shuffled), [CLD.EXITED, 0], 'crossed');
    for (const fd of [a, b, nothing]) close(sys, fd);
  },

  async namespaces() {
    const flags = CLONE.NEWNS | CLONE.NEWUTS | CLONE.NEWIPC | CLONE.NEWNET | CLONE.NEWPID;
    const steps: Step[] = [
      { op: 'call', nr: SYS.mount, args: [null, '/', null, MS.REC | MS.PRIVATE, null], label: 'make / private' },
      { op: 'call', nr: SYS.mount, args: ['proc', '/proc', 'proc', 0, null], label: 'mount proc on /proc' },
      { op: 'call', nr: SYS.sethostname, args: ['inner', 5], label: 'sethostname' },
      hold,
      { op: 'exec', path: 'sleep', argv: ['sleep', '100'], env: [], searchPath: ['/bin'], label: 'exec' },
    ];
    const child = spawn(plan(steps, { cloneFlags: flags }));
    await nextPacket(child);
    sys.write(child.statusFd, GO, 0, 1);
    equal(await nextPacket(child), undefined, 'exec');
    const enter = (['uts', 'ipc', 'net', 'pid', 'mnt'] as const).map((name) => ({
      fd: open(sys, `/proc/${child.pid}/ns/${name}`, O.RDONLY),
      type: NAMESPACES[name],
    }));
    const inside = await output('hostname; cat /proc/1/comm; readlink /proc/self/ns/net; echo $PPID', { enter });
    equal(inside.split('\n').slice(0, 2), ['inner', 'sleep'], 'inside');
    equal(inside.split('\n')[2], readlink(sys, `/proc/${child.pid}/ns/net`), 'network namespace');
    equal(inside.split('\n')[3], '0', 'the parent is outside');
    const refused = sys.spawn(plan([shell('exit 0')], { enter: [{ fd: enter[0]?.fd ?? -1, type: CLONE.NEWPID }] }));
    equal(refused, -E.EINVAL, 'a namespace of another type');
    pidfdSendSignal(sys, child.pidfd, SIG.KILL);
    equal(await ended(child), [CLD.KILLED, SIG.KILL], 'init killed');
    // The namespace has no init any more.
    equal(
      sys.spawn(plan([shell('exit 0')], { enter: enter.filter(({ type }) => type === CLONE.NEWPID) })),
      -E.ENOMEM,
      'dead',
    );
    for (const { fd } of enter) close(sys, fd);
  },

  async 'user namespace'() {
    const child = spawn(plan([hold, shell('exit $(id -u)')], { cloneFlags: CLONE.NEWUSER | CLONE.NEWNS }));
    await nextPacket(child);
    writeFile(sys, `/proc/${child.pid}/uid_map`, '7 0 1');
    const ns = { fd: open(sys, `/proc/${child.pid}/ns/user`, O.RDONLY), type: NAMESPACES.user };
    equal(await output('id -u', { enter: [ns] }), '7', 'entered');
    sys.write(child.statusFd, GO, 0, 1);
    await nextPacket(child);
    equal(await ended(child), [CLD.EXITED, 7], 'mapped');
    close(sys, ns.fd);
  },

  async resolve([directory = '']) {
    const root = `${directory}/root`;
    for (const path of ['bin', 'var/real', 'etc']) mkdirAll(sys, `${root}/${path}`);
    mkdir(sys, `${directory}/outside`);
    symlink(sys, '/', `${root}/slash`);
    symlink(sys, '../../../../../../../..', `${root}/up`);
    symlink(sys, '/var/real', `${root}/absolute`);
    symlink(sys, '/run/systemd/resolv.conf', `${root}/etc/resolv.conf`);
    symlink(sys, '../made/here', `${root}/var/dangling`);
    symlink(sys, 'loop', `${root}/loop`);
    symlink(sys, `${directory}/outside`, `${root}/out`);
    symlink(sys, '/proc/self/root/etc', `${root}/magic`);
    writeFile(sys, `${root}/file`, 'x', O.WRONLY | O.CREAT);
    const rootFd = open(sys, root, O.PATH | O.DIRECTORY);
    const where = async (path: string, more: Partial<Step & { op: 'resolve' }> = {}): Promise<string | number> => {
      const child = spawn(
        plan([resolveStep(slot(0), path, 1, more), { op: 'sync', name: 'fd', fd: slot(1), label: 'fd' }], {
          slots: { 0: rootFd },
        }),
      );
      const packet = await nextPacket(child);
      let result: string | number = -(packet?.errno ?? 0);
      if (packet?.kind === 1) result = packet.fd < 0 ? 'none' : readlink(sys, `/proc/${child.pid}/fd/${packet.fd}`);
      pidfdSendSignal(sys, child.pidfd, SIG.KILL);
      await ended(child);
      return typeof result === 'string' ? result.replace(root, '') || '/' : result;
    };
    const create = { create: true } as const;
    equal(await where(''), '/', 'the root itself');
    equal(await where('/slash/slash/etc'), '/etc', 'link to /');
    equal(await where('up/up/etc'), '/etc', 'link upwards');
    equal(await where('../../../etc'), '/etc', 'dots');
    equal(await where('absolute'), '/var/real', 'absolute link');
    equal(await where('loop'), -E.ELOOP, 'loop');
    equal(await where('missing'), -E.ENOENT, 'missing');
    equal(await where('missing', { optional: true }), 'none', 'missing, optional');
    equal(await where('file/x', { optional: true }), 'none', 'below a file, optional');
    equal(await where('file/x'), -E.ENOTDIR, 'below a file');
    equal(await where('file', { leaf: 'directory' }), -E.ENOTDIR, 'file for a directory');
    equal(await where('etc', { leaf: 'file' }), -E.EISDIR, 'directory for a file');
    equal(await where('a/b//c/', create), '/a/b/c', 'made');
    equal(await where('slash/up/absolute/d/e', { ...create, leaf: 'file' }), '/var/real/d/e', 'made below links');
    equal(
      await where('etc/resolv.conf', { ...create, leaf: 'file' }),
      '/run/systemd/resolv.conf',
      'dangling absolute link',
    );
    equal(await where('var/dangling/deeper', create), '/made/here/deeper', 'dangling relative link');
    equal(await where('out/x', create), `${directory}/outside/x`, 'absolute link of the host, made inside');
    equal(await where('loop/x', create), -E.ELOOP, 'loop, create');
    equal(await where('new/../../x', create), -E.ENOENT, 'dots below what is missing');
    equal(await where('x'.repeat(300), create), -E.ENAMETOOLONG, 'long name');
    equal(await where('y/'.repeat(3000), create), -E.ENAMETOOLONG, 'long path');
    equal(await where('file/x', create), -E.ENOTDIR, 'create below a file');
    equal(await where('magic', create), '/proc/self/root/etc', 'no magic: made inside');
    equal(sys.call(SYS.faccessat, AT.FDCWD, `${directory}/outside/x`, 0), -E.ENOENT, 'nothing outside');
    equal(sys.call(SYS.faccessat, AT.FDCWD, `${root}${directory}/outside/x`, 0), 0, 'inside instead');
    close(sys, rootFd);
  },

  async 'resolve while the tree changes'([directory = '']) {
    const root = `${directory}/race`;
    mkdirAll(sys, `${root}/a`);
    mkdirAll(sys, `${directory}/secret`);
    const script = `cd ${root}; while :; do mkdir -p x; rmdir x; ln -s ${directory}/secret x; rm x; ln -s ../../../../secret x; rm x; done`;
    const racer = spawn(plan([shell(`exec 2>/dev/null; ${script}`)]));
    const rootFd = open(sys, root, O.PATH | O.DIRECTORY);
    const steps = Array.from({ length: 300 }, () => resolveStep(slot(0), 'x/y/z', 1, { create: true }));
    for (let round = 0; round < 10; round++) {
      // ENOTEMPTY races end a run early; only the place of what was made counts.
      await runPlan(plan([...steps, { op: 'exit', status: 0, label: 'exit' }], { slots: { 0: rootFd } }));
    }
    pidfdSendSignal(sys, racer.pidfd, SIG.KILL);
    await ended(racer);
    equal(sys.call(SYS.faccessat, AT.FDCWD, `${directory}/secret/y`, 0), -E.ENOENT, 'nothing outside');
    close(sys, rootFd);
    await delay(0);
  },
};
