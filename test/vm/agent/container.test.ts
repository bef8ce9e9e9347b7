/** Containers in a real guest: what a program sees of its root, user, privileges and limits. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ContainerSpec, Process } from '../../../agent/protocol/generated/agent.ts';
import { MAX_PROCESS_BYTES, MAX_PROCESS_STRING_BYTES } from '../../../agent/protocol/limits.ts';
import type { Init } from '../../../agent/protocol/message.ts';
import { type Outcome, runContainer, runExec } from '../../helpers/agent-programs.ts';
import { type AgentVm, powerOff, startAgentVm } from '../../helpers/agent-vm.ts';
import { rootStorages, testProcess, testSpec } from '../../helpers/container-defaults.ts';
import { makeTestDisks, type TestDisks } from '../../helpers/test-disks.ts';

let disks: TestDisks;
let vm: AgentVm;

beforeAll(async () => {
  disks = await makeTestDisks();
  const scratch = await disks.scratch('scratch');
  vm = await startAgentVm({
    disks: [
      { path: disks.busybox, readOnly: true },
      { path: scratch, readOnly: false },
    ],
  });
  const wallClockNs = BigInt(Date.now()) * 1_000_000n;
  await vm.call.createSandbox({
    sandboxId: 'sb',
    hostname: 'sandbox',
    wallClockNs,
    entropy: new Uint8Array(64).fill(7),
  });
});

afterAll(async () => {
  try {
    await powerOff(vm);
  } finally {
    await disks.remove();
  }
});

let counter = 0;

/** Runs a script in a container of its own. */
function script(
  text: string,
  spec: Init<ContainerSpec> = {},
  process: Init<Process> = {},
  stdin?: string,
): Promise<Outcome> {
  counter += 1;
  const id = `c${counter}`;
  const args = ['sh', '-c', text];
  const request = {
    containerId: id,
    storages: rootStorages(id),
    rootfsId: `${id}-root`,
    spec: testSpec(args, { ...spec, process: testProcess(args, process) }),
  };
  return runContainer(vm, request, stdin);
}

/** Runs a program in a container of its own. */
function program(args: readonly string[], process: Init<Process> = {}): Promise<Outcome> {
  counter += 1;
  const id = `c${counter}`;
  const spec = testSpec(args, { process: testProcess(args, process) });
  return runContainer(vm, { containerId: id, storages: rootStorages(id), rootfsId: `${id}-root`, spec });
}

/** "Name: value" lines of /proc/self/status. */
async function status(process: Init<Process>): Promise<Map<string, string>> {
  const { stdout } = await script('cat /proc/self/status', {}, process);
  return new Map(stdout.split('\n').map((line) => line.split(/:\s*/, 2) as [string, string]));
}

describe('a program', () => {
  test('has its exit status, output, errors and input', async () => {
    const outcome = await script('read line; echo "got $line"; echo oops >&2; exit 42', {}, {}, 'hello\n');
    expect(outcome).toEqual({ status: 42, stdout: 'got hello\n', stderr: 'oops\n' });
  });

  test('that dies of a signal has 128 + n', async () => {
    expect((await script('kill -9 $$')).status).toBe(0);
    expect((await script('(sh -c "kill -SEGV \\$\\$"); exit $?')).status).toBe(139);
  });

  test('is pid 1 of its namespace and sees only itself', async () => {
    const { stdout } = await script('echo $$; ls /proc | grep -c "^[0-9]"');
    expect(stdout.split('\n')[0]).toBe('1');
  });

  test('that does not exist is named as runc names it', async () => {
    await expect(program(['nonesuch'])).rejects.toThrow('exec: "nonesuch": executable file not found in $PATH');
    await expect(program(['/bin/nonesuch'])).rejects.toThrow('exec: "/bin/nonesuch": no such file or directory');
    await expect(program(['/etc/plain'])).rejects.toThrow('exec: "/etc/plain": permission denied');
    await expect(program(['/etc'])).rejects.toThrow('exec: "/etc": permission denied');
    await expect(program(['/etc/plain/x'])).rejects.toThrow('exec: "/etc/plain/x": not a directory');
  });

  test('starts in its working directory, which is made when it is missing', async () => {
    expect((await script('pwd', {}, { cwd: '/new/dir' })).stdout).toBe('/new/dir\n');
    expect((await script('pwd', {}, { cwd: '/home/app' })).stdout).toBe('/home/app\n');
    await expect(program(['true'], { cwd: '/etc/plain' })).rejects.toThrow('chdir to cwd ("/etc/plain")');
  });

  test('gets its environment, and HOME when it has none', async () => {
    const env = ['PATH=/bin', 'A=b c', 'EMPTY='];
    expect((await script('env | sort', {}, { env })).stdout).toContain('A=b c\nEMPTY=\nHOME=/root\nPATH=/bin\n');
    const app = await script('echo $HOME', {}, { env: ['PATH=/bin'], user: { username: 'app' } });
    expect(app.stdout).toBe('/home/app\n');
  });

  test('takes as many bytes as a process may be given', async () => {
    const value = 'x'.repeat(MAX_PROCESS_STRING_BYTES - 2);
    const names = ['A', 'B', 'C', 'D'];
    const env = ['PATH=/bin', 'HOME=/', ...names.map((name) => `${name}=${value}`)];
    const rest = MAX_PROCESS_BYTES - env.reduce((total, entry) => total + entry.length + 1, 0) - 100;
    const text = `echo $((${names.map((name) => `\${#${name}}`).join('+')})) \${#0}`;
    const args = ['sh', '-c', text, 'x'.repeat(rest - text.length)];
    const expected = `${names.length * value.length} ${rest - text.length}\n`;
    expect(await program(args, { env })).toEqual({ status: 0, stdout: expected, stderr: '' });
  });
});

describe('a user', () => {
  test('is found by name, with the groups that list it', async () => {
    expect((await script('id', {}, { user: { username: 'app' } })).stdout).toBe(
      'uid=1000(app) gid=1000(app) groups=29(audio),50(staff)\n',
    );
  });

  test('is found by number, with a group', async () => {
    expect((await script('id -u; id -g; id -G', {}, { user: { username: '1234:staff' } })).stdout).toBe(
      '1234\n50\n50\n',
    );
    expect((await script('id -u; id -g', {}, { user: { uid: 7, gid: 8, additionalGids: [9] } })).stdout).toBe('7\n8\n');
  });

  test('that the image does not know is refused', async () => {
    await expect(script('id', {}, { user: { username: 'ghost' } })).rejects.toThrow('unable to find user ghost');
    await expect(script('id', {}, { user: { username: 'app:ghosts' } })).rejects.toThrow('unable to find group ghosts');
  });

  test('has its umask, and may reopen its streams', async () => {
    const user = { uid: 1000, gid: 1000, umask: 0o077 };
    const { stdout } = await script('umask; echo again > /dev/stdout', {}, { user });
    expect(stdout).toBe('0077\nagain\n');
  });
});

describe('privileges', () => {
  test('are the five sets that were asked for', async () => {
    const caps = await status({});
    expect(caps.get('CapEff')).toBe('00000000a80425fb');
    expect(caps.get('CapBnd')).toBe('00000000a80425fb');
    expect(caps.get('CapInh')).toBe('0000000000000000');
    const none = await status({ capabilities: {} });
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect(none.get(set)).toBe('0000000000000000');
    const net = ['CAP_NET_BIND_SERVICE'];
    const ambient = await status({
      user: { uid: 1000, gid: 1000 },
      capabilities: { bounding: net, effective: net, permitted: net, inheritable: net, ambient: net },
    });
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect(ambient.get(set)).toBe('0000000000000400');
  });

  test('cannot grow with no_new_privs', async () => {
    const user = { uid: 1000, gid: 1000 };
    // A raw socket is what its setuid bit is for.
    expect((await script('/suid/ping -c 1 127.0.0.1', {}, { user })).status).toBe(0);
    expect((await script('/suid/ping -c 1 127.0.0.1', {}, { user, noNewPrivileges: true })).status).not.toBe(0);
    expect((await status({ noNewPrivileges: true })).get('NoNewPrivs')).toBe('1');
  });

  test('are filtered by seccomp, with and without no_new_privs', async () => {
    const seccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      architectures: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
      syscalls: [
        { names: ['mkdir', 'mkdirat', 'no_such_call'], action: 'SCMP_ACT_ERRNO', errno: 95 },
        { names: ['kill'], action: 'SCMP_ACT_ERRNO', args: [{ index: 1, value: 10n, op: 'SCMP_CMP_EQ' }] },
      ],
    };
    for (const noNewPrivileges of [false, true]) {
      const text = 'mkdir /tmp/x; kill -USR1 $$; kill -0 $$ && echo alive; grep Seccomp: /proc/self/status';
      const { stdout, stderr } = await script(text, { seccomp }, { noNewPrivileges });
      expect(stderr).toContain('not supported');
      expect(stderr).toContain('not permitted');
      expect(stdout).toBe('alive\nSeccomp:\t2\n');
    }
  });

  test('have resource limits and an OOM score', async () => {
    const rlimits = [
      { type: 'RLIMIT_NOFILE', soft: 100n, hard: 200n },
      { type: 'RLIMIT_CORE', soft: 0n, hard: 0xffff_ffff_ffff_ffffn },
    ];
    const { stdout } = await script(
      'ulimit -n; ulimit -Hn; ulimit -c; ulimit -Hc; cat /proc/self/oom_score_adj',
      {},
      { rlimits, oomScoreAdj: 123 },
    );
    expect(stdout).toBe('100\n200\n0\nunlimited\n123\n');
    expect((await script('cat /proc/self/oom_score_adj')).stdout).toBe('0\n');
  });

  test('are scheduled as asked, with the personality that was asked for', async () => {
    // Fields 19 and 41 of proc_pid_stat(5): nice, policy.
    const look = 'cut -d " " -f 19,41 /proc/self/stat; ionice -p $$; uname -m';
    expect((await script(look)).stdout).toBe('0 0\nnone: prio 0\nx86_64\n');
    const more = {
      scheduler: { policy: 3, flags: 0n, nice: 7, priority: 0, runtimeNs: 0n, deadlineNs: 0n, periodNs: 0n },
      ioPriority: { ioClass: 2, level: 6 },
      personality: 8,
    };
    expect((await script(look, {}, more)).stdout).toBe('7 3\nbest-effort: prio 6\ni686\n');
    const refused = { scheduler: { ...more.scheduler, policy: 99 } };
    await expect(script('true', {}, refused)).rejects.toThrow('set scheduler policy 99');
  });
});

describe('the root', () => {
  test('is writable, and read-only when asked for', async () => {
    expect((await script('echo x > /file && cat /file')).stdout).toBe('x\n');
    const readOnly = await script('echo x > /file || echo refused; echo y > /dev/shm/y && echo shm', {
      rootReadonly: true,
    });
    expect(readOnly.stdout).toBe('refused\nshm\n');
  });

  test('has masked and read-only paths', async () => {
    const text =
      'wc -c < /proc/keys; ls /sys/firmware | wc -l; echo 1 > /proc/sys/kernel/pid_max || echo refused; echo b > /proc/sysrq-trigger || echo no';
    const { stdout } = await script(text, {
      maskedPaths: ['/proc/keys', '/sys/firmware', '/nonexistent', '/etc/plain/below'],
    });
    expect(stdout).toBe('0\n0\nrefused\nno\n');
  });

  test('has the hostname of the container or of the sandbox', async () => {
    expect((await script('hostname')).stdout).toBe('test\n');
    expect((await script('hostname', { namespaces: ['mount', 'pid'] })).stdout).toBe('sandbox\n');
  });

  test('has files of the host', async () => {
    const files = [
      { destination: '/etc/hosts', content: Buffer.from('127.0.0.1 localhost\n'), mode: 0o644 },
      { destination: '/etc/deep/er/file', content: Buffer.from('deep'), mode: 0o600 },
    ];
    const { stdout } = await script(
      'cat /etc/hosts /etc/deep/er/file; echo more >> /etc/hosts; stat -c %a /etc/deep/er/file',
      { files },
    );
    expect(stdout).toBe('127.0.0.1 localhost\ndeep600\n');
  });

  test('does not let symbolic links of the image lead out', async () => {
    // A layer above whose links point out of the root.
    const text = 'ls -d /run/tskata /init 2>&1; cat /proc/1/root/init 2>&1 | head -c 10; echo done';
    expect((await script(text)).stdout).not.toContain('ELF');
  });

  test('has sysctls of its namespaces only', async () => {
    const sysctls = new Map([
      ['kernel.shmmni', '77'],
      ['fs.mqueue.msg_max', '12'],
    ]);
    expect((await script('cat /proc/sys/kernel/shmmni /proc/sys/fs/mqueue/msg_max', { sysctls })).stdout).toBe(
      '77\n12\n',
    );
    await expect(script('true', { sysctls: new Map([['vm.swappiness', '1']]) })).rejects.toThrow('spec.sysctls');
    await expect(script('true', { sysctls: new Map([['net/../vm.swappiness', '1']]) })).rejects.toThrow('spec.sysctls');
  });
});

describe('devices', () => {
  test('of the guest cannot be opened, even after mknod', async () => {
    const text = `
      for node in "b 254 0" "b 253 0" "c 229 0" "c 1 1"; do mknod /tmp/n $node; (: < /tmp/n) 2>/dev/null && echo "opened $node"; rm /tmp/n; done
      for major in $(seq 230 260); do for minor in 0 1 2; do
        mknod /tmp/n c $major $minor; (: < /tmp/n) 2>/dev/null && echo "opened c $major:$minor"; rm /tmp/n
        mknod /tmp/n b $major $minor; (: < /tmp/n) 2>/dev/null && echo "opened b $major:$minor"; rm /tmp/n
      done; done
      echo x > /dev/null && head -c 4 /dev/zero | wc -c`;
    expect((await script(text)).stdout).toBe('4\n');
  });

  test('of the agent stay closed to a container that may open everything', async () => {
    const resources = { devices: [{ allow: true, type: 'a', major: -1n, minor: -1n, access: 'rwm' }] };
    const text = `
      disk=$(grep -l . /sys/block/vda/dev | xargs cat | tr : ' '); mknod /tmp/d b $disk; (: < /tmp/d) 2>/dev/null && echo opened disk
      for port in /sys/class/virtio-ports/*/dev; do mknod /tmp/p c $(tr : ' ' < $port); (: < /tmp/p) 2>/dev/null && echo opened port; rm /tmp/p; done
      mknod /tmp/f c 1 7; head -c 1 /tmp/f | wc -c`;
    expect((await script(text, { resources })).stdout).toBe('1\n');
  });

  test('of the spec are made with owner and mode', async () => {
    const devices = [{ type: 'c', path: '/dev/sub/full2', major: 1n, minor: 7n, fileMode: 0o640, uid: 5, gid: 6 }];
    const { stdout } = await script('stat -c "%a %u %g %t:%T" /dev/sub/full2; head -c 1 /dev/sub/full2 | wc -c', {
      devices,
    });
    expect(stdout).toBe('640 5 6 1:7\n1\n');
  });
});

describe('mounts', () => {
  test('take options of every kind', async () => {
    const mounts = [
      ...(testSpec(['x']).mounts ?? []),
      {
        destination: '/t',
        type: 'tmpfs',
        source: 'tmpfs',
        options: [
          ...['rw', 'noexec', 'nosuid', 'nodev', 'noatime', 'size=1m', 'mode=1755', 'uid=3'],
          ...['sync', 'dirsync', 'lazytime', 'mand', 'iversion', 'silent', 'loud', 'rnosymfollow'],
        ],
      },
    ];
    const { stdout } = await script('grep " /t " /proc/self/mountinfo | cut -d" " -f6-; stat -c "%a %u" /t', {
      mounts,
    });
    expect(stdout).toContain('rw,nosuid,nodev,noexec,noatime');
    expect(stdout).toContain('size=1024k');
    expect(stdout).toContain('1755 3\n');
  });

  test('begin with what the image has there, when asked for', async () => {
    const tmpfs = (destination: string, ...options: string[]) => ({
      destination,
      type: 'tmpfs',
      source: 'tmpfs',
      options,
    });
    const mounts = [
      ...(testSpec(['x']).mounts ?? []),
      tmpfs('/etc', 'tmpcopyup', 'nosuid', 'size=2m'),
      tmpfs('/home', 'tmpcopyup', 'mode=700'),
      tmpfs('/suid', 'tmpcopyup', 'ro'),
      tmpfs('/nothing/there', 'tmpcopyup'),
      tmpfs('/tmp', 'tmpcopyup'),
    ];
    const text = `head -1 /etc/passwd; stat -c '%a %u %g' /etc/plain /home /home/app /tmp /suid/ping; echo x > /etc/new; ls /nothing/there | wc -l
      touch /suid/x 2>/dev/null || echo refused; grep ' /etc ' /proc/self/mounts | cut -d' ' -f3`;
    const { stdout } = await script(text, { mounts });
    expect(stdout).toBe(
      'root:x:0:0:root:/root:/bin/sh\n644 0 0\n700 0 0\n755 1000 1000\n1777 0 0\n4755 0 0\n0\nrefused\ntmpfs\n',
    );
  });

  test('of storages are bound, whole and in part, read-only and with propagation', async () => {
    counter += 1;
    const id = `c${counter}`;
    const storages = [...rootStorages(id), { id: `${id}-data`, tmpfs: { sizeBytes: 1n << 20n } }];
    const text = `echo hi > /data/f; cat /ro/f; echo no > /ro/g || echo refused
      grep -E " /(data|ro|sh) " /proc/self/mountinfo | sed -E 's/ - .*//; s/:[0-9]+//g' | awk '{print $5, $6, $7}'`;
    const spec = testSpec(['sh', '-c', text], {
      mounts: [
        ...(testSpec(['x']).mounts ?? []),
        { destination: '/data', type: 'bind', storageId: `${id}-data`, options: ['rbind', 'rprivate'] },
        { destination: '/ro', type: 'bind', storageId: `${id}-data`, options: ['bind', 'ro', 'nosuid'] },
        { destination: '/sh', type: 'bind', storageId: `${id}-data`, options: ['rbind', 'rshared', 'rro'] },
      ],
    });
    const { stdout } = await runContainer(vm, { containerId: id, storages, rootfsId: `${id}-root`, spec });
    expect(stdout).toMatch(/^hi\nrefused\n/);
    expect(stdout).toMatch(/\/data rw,noatime -\n|\/data rw,noatime\s*\n/);
    expect(stdout).toMatch(/\/ro ro,nosuid,noatime/);
    expect(stdout).toMatch(/\/sh ro,noatime shared/);
  });
});

describe('calls', () => {
  test('are refused in the wrong phase, with unknown and doubled ids', async () => {
    const id = 'phases';
    const request = {
      containerId: id,
      storages: rootStorages(id),
      rootfsId: `${id}-root`,
      spec: testSpec(['sleep', '1000']),
    };
    await vm.call.createContainer(request, { timeoutMs: 30_000 });
    await expect(vm.call.createContainer(request)).rejects.toMatchObject({ code: 6 });
    await expect(
      vm.call.execProcess({ containerId: id, execId: 'e', process: testProcess(['true']) }),
    ).rejects.toMatchObject({ code: 9 });
    await vm.call.startContainer({ containerId: id });
    await expect(vm.call.startContainer({ containerId: id })).rejects.toMatchObject({ code: 9 });
    await expect(vm.call.deleteContainer({ containerId: id })).rejects.toMatchObject({ code: 9 });
    await expect(vm.call.startContainer({ containerId: 'ghost' })).rejects.toMatchObject({ code: 5 });
    await expect(vm.call.createContainer({ ...request, containerId: '../x' })).rejects.toMatchObject({ code: 3 });
    await expect(
      vm.call.createContainer({ ...request, containerId: 'other', rootfsId: 'nope', storages: [] }),
    ).rejects.toMatchObject({ code: 5 });
    await vm.call.signalProcess({ containerId: id, signal: 9 });
    expect(await vm.call.waitProcess({ containerId: id })).toMatchObject({ exitStatus: 137, oomKilled: false });
    await vm.call.deleteContainer({ containerId: id });
    await expect(vm.call.deleteContainer({ containerId: id })).rejects.toMatchObject({ code: 5 });
    await expect(vm.call.createSandbox({ sandboxId: 'again' })).rejects.toMatchObject({ code: 9 });
  });

  test('that fail leave nothing behind', async () => {
    const before = await vm.call.guestInfo({});
    for (let round = 0; round < 5; round += 1) {
      await expect(script('true', {}, { user: { username: 'ghost' } })).rejects.toThrow();
      await expect(program(['nonesuch'])).rejects.toThrow();
    }
    const after = await vm.call.guestInfo({});
    expect(after.openDescriptors).toBe(before.openDescriptors);
  });
});

describe('exec', () => {
  test('joins a running container', async () => {
    const id = 'exec';
    const spec = testSpec(['sleep', '1000'], { hostname: 'inner' });
    await vm.call.createContainer(
      { containerId: id, storages: rootStorages(id), rootfsId: `${id}-root`, spec },
      { timeoutMs: 30_000 },
    );
    await vm.call.startContainer({ containerId: id });
    const text =
      'read x; echo $x; hostname; cat /proc/self/cgroup; readlink /proc/self/ns/pid | wc -l; ps | grep -c "[s]leep 1000"; id -u; pwd; exit 3';
    const process = testProcess(['sh', '-c', text], { user: { username: 'app' }, cwd: '/home' });
    const outcome = await runExec(vm, id, process, 'in\n');
    expect(outcome).toMatchObject({ status: 3, stderr: '' });
    expect(outcome.stdout).toBe('in\ninner\n0::/\n1\n1\n1000\n/home\n');
    await expect(runExec(vm, id, testProcess(['nope']))).rejects.toThrow(
      'exec: "nope": executable file not found in $PATH',
    );
    await expect(runExec(vm, id, testProcess(['true'], { cwd: '/none' }))).rejects.toThrow('chdir to cwd ("/none")');
    const { processes } = await vm.call.listProcesses({ containerId: id });
    expect(processes.map((entry) => entry.command)).toEqual(['sleep']);
    await vm.call.signalProcess({ containerId: id, signal: 9, all: true });
    await vm.call.waitProcess({ containerId: id });
    await vm.call.deleteContainer({ containerId: id });
  });
});
