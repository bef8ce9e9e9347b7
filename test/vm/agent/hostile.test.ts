/** Images made to break out: links where mounts, devices, files and look-ups go. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ContainerSpec, Process } from '../../../agent/protocol/generated/agent.ts';
import type { Init } from '../../../agent/protocol/message.ts';
import { runContainer } from '../../helpers/agent-programs.ts';
import { type AgentVm, diskPath, powerOff, startAgentVm } from '../../helpers/agent-vm.ts';
import { testProcess, testSpec } from '../../helpers/container-defaults.ts';
import { makeTestDisks, type TestDisks } from '../../helpers/test-disks.ts';

let disks: TestDisks;
let vm: AgentVm;

/** Layers that are put on top of busybox, each with its own trick. */
const LAYERS = {
  dev: 'ln -s ../../../../run/tskata dev',
  proc: 'ln -s etc proc',
  hosts:
    'mkdir etc; ln -s /run/y etc/hosts; ln -s /proc/1/root/run/tskata/pwned etc/hostname; ln -s ../../../../run/x etc/resolv.conf',
  data: 'ln -s /run/tskata/storage data; ln -s loop1 loop2; ln -s loop2 loop1',
  passwd: 'mkdir etc; mkfifo etc/passwd; mkdir etc/group',
  node: 'mkdir etc; mknod etc/passwd c 5 1; mknod disk b 254 0; mkdir -p dev; mknod dev/null c 1 5',
  big: 'mkdir etc; yes x:x:0:0:::/x | head -c 5000000 > etc/passwd',
  shell:
    'mkdir lower; printf "#!/nonexistent\\n" > lower/script; chmod 755 lower/script; printf "\\177ELF" > lower/elf; chmod 755 lower/elf',
} as const;

type Layer = keyof typeof LAYERS;
const names = Object.keys(LAYERS) as Layer[];

beforeAll(async () => {
  disks = await makeTestDisks();
  const layers = [];
  for (const name of names) layers.push({ path: await disks.squash(name, LAYERS[name]), readOnly: true });
  const scratch = { path: await disks.scratch('scratch'), readOnly: false };
  vm = await startAgentVm({ disks: [{ path: disks.busybox, readOnly: true }, scratch, ...layers] });
  await vm.call.createSandbox({ sandboxId: 'sb' });
});

afterAll(async () => {
  try {
    await powerOff(vm);
  } finally {
    await disks.remove();
  }
});

let counter = 0;

async function attempt(
  layer: Layer,
  args: readonly string[],
  change: Init<ContainerSpec> = {},
  process: Init<Process> = {},
) {
  counter += 1;
  const id = `h${counter}`;
  const block = (index: number, fsType: string) => ({ pciPath: diskPath(index), fsType, readOnly: fsType !== 'ext4' });
  return runContainer(vm, {
    containerId: id,
    storages: [
      { id: `${id}-base`, block: block(0, 'squashfs') },
      { id: `${id}-trick`, block: block(2 + names.indexOf(layer), 'squashfs') },
      { id: `${id}-scratch`, block: block(1, 'ext4') },
      { id: `${id}-root`, overlay: { lowerIds: [`${id}-base`, `${id}-trick`], upperId: `${id}-scratch` } },
    ],
    rootfsId: `${id}-root`,
    spec: testSpec(args, { ...change, process: testProcess(args, process) }),
  });
}

const show = ['sh', '-c', 'ls -1 / /run 2>&1; cat /proc/self/mountinfo | cut -d" " -f5'];

test('/dev that is a link out of the root is a directory inside of it', async () => {
  const { stdout } = await attempt('dev', show);
  expect(stdout).toContain('/run/tskata/pts');
  expect(stdout).not.toContain('storage');
});

test('/proc that is a link is refused', async () => {
  await expect(attempt('proc', show)).rejects.toThrow('mount proc on /proc: must be an ordinary directory');
});

test('files of the host go to where a link points inside the root', async () => {
  const content = Buffer.from('hosts\n');
  const files = [
    { destination: '/etc/hosts', content, mode: 0o644 },
    { destination: '/etc/resolv.conf', content, mode: 0o644 },
  ];
  const { stdout } = await attempt('hosts', ['sh', '-c', 'cat /run/x /run/y'], { files });
  expect(stdout).toBe('hosts\nhosts\n');
  const magic = { files: [{ destination: '/etc/hostname', content, mode: 0o644 }] };
  await expect(attempt('hosts', show, magic)).rejects.toThrow('mount the file /etc/hostname: ELOOP');
});

test('a bind on a link lands inside the root, a loop of links is refused', async () => {
  const mounts = (destination: string) => [
    ...(testSpec(['x']).mounts ?? []),
    { destination, type: 'tmpfs', source: 'tmpfs', options: [] },
  ];
  const { stdout } = await attempt('data', show, { mounts: mounts('/data/u') });
  expect(stdout).toContain('/run/tskata/storage/u');
  await expect(attempt('data', show, { mounts: mounts('/loop1/x') })).rejects.toThrow('ELOOP');
});

test('a FIFO, a directory and a device as user files are as good as none', async () => {
  const user = { username: '7:8' };
  expect(
    (await attempt('passwd', ['sh', '-c', 'grep -E "^[UG]id" /proc/self/status | cut -f2'], {}, { user })).stdout,
  ).toBe('7\n8\n');
  expect(
    (
      await attempt(
        'node',
        ['sh', '-c', 'cat /disk 2>/dev/null || echo closed; echo x > /dev/null && cat /dev/null'],
        {},
        { user },
      )
    ).stdout,
  ).toBe('closed\n');
  await expect(attempt('passwd', ['id'], {}, { user: { username: 'root' } })).rejects.toThrow(
    'unable to find user root',
  );
  expect(
    (await attempt('big', ['grep', '-c', 'Uid:.0', '/proc/self/status'], {}, { user: { username: '0' } })).stdout,
  ).toBe('1\n');
});

test('programs that cannot run say why', async () => {
  await expect(attempt('shell', ['/lower/script'])).rejects.toThrow('exec: "/lower/script": no such file or directory');
  await expect(attempt('shell', ['/lower/elf'])).rejects.toThrow('exec: "/lower/elf": exec format error');
});
