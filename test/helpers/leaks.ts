/** What a test may not leave on the machine: processes, mounts, taps, sockets and files of tskata. */
import { readdir, readFile } from 'node:fs/promises';

const PROGRAMS =
  /(^|\/)(qemu-system-x86_64|virtiofsd|tskata-usernet|tskata-helper|containerd-shim-tskata-v2|tskata-agent)$/;
const RUN_ROOT = '/run/tskata';

async function leftProcesses(): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const [program = '', script = ''] = command.split('\0');
    if (PROGRAMS.test(program) || /\/shim\.js$/.test(script))
      found.push(`process ${pid}: ${command.replaceAll('\0', ' ').slice(0, 160)}`);
  }
  return found;
}

async function leftMounts(): Promise<string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  const points = lines.map((line) => line.split(' ')[4] ?? '');
  return points.filter((point) => point.includes('tskata')).map((point) => `mount ${point}`);
}

async function leftLinks(): Promise<string[]> {
  const names = await readdir('/sys/class/net');
  return names.filter((name) => name.startsWith('tsk')).map((name) => `network device ${name}`);
}

async function leftFiles(): Promise<string[]> {
  const names = await readdir(RUN_ROOT, { recursive: true, withFileTypes: true }).catch(() => []);
  return names
    .filter(
      (entry) => !entry.isDirectory() && !/\/(cache|uids)\/|\/s\/\.lock$/.test(`${entry.parentPath}/${entry.name}`),
    )
    .map((entry) => `file ${entry.parentPath}/${entry.name}`);
}

/** One line for each thing that is there. Empty when the machine is clean. */
export async function findLeaks(): Promise<string[]> {
  return (await Promise.all([leftProcesses(), leftMounts(), leftLinks(), leftFiles()])).flat();
}
