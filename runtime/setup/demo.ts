/**
 * The first thing that a new user sees: one container in its own virtual machine, by the command that they would
 * type, and the proof that it is one: the guest's kernel is not the host's.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { release } from 'node:os';
import { join } from 'node:path';

const prefix = process.env.TSKATA_PREFIX ?? '/usr/local';
const tskata = join(prefix, 'bin/tskata');
const BUSYBOX = 'busybox:latest';

/** Runs a command with its output in view; returns what it printed. */
function run(args: readonly string[]): string {
  const result = spawnSync(tskata, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (result.error) throw result.error;
  if (result.status !== 0) fail(args, result.status);
  return result.stdout.trim();
}

function fail(args: readonly string[], status: number | null): never {
  process.stderr.write(`demo: tskata ${args.join(' ')} ended with status ${status}\n`);
  process.exit(status ?? 1);
}

if (!(JSON.parse(run(['images', '--json'])) as { name: string }[]).some((image) => image.name.endsWith(BUSYBOX))) {
  console.log('==> making the image busybox:latest from the busybox of this machine');
  run(['load', '--builtin', 'busybox']);
}
console.log(`accelerator: ${(JSON.parse(run(['doctor', '--json'])) as { reason: string }).reason}`);
const command = ['run', '--rm', 'busybox', 'uname', '-r'];
console.log(`\n$ tskata ${command.join(' ')}`);
const started = performance.now();
const container = spawn(tskata, command, { stdio: ['ignore', 'pipe', 'inherit'] });
const ended = once(container, 'close');
let guest = '';
let startSeconds = 0;
for await (const text of container.stdout.setEncoding('utf8')) {
  if (guest === '') startSeconds = (performance.now() - started) / 1000;
  guest += String(text);
}
const [status] = (await ended) as [number | null];
if (status !== 0) fail(command, status);
guest = guest.trim();
const seconds = (performance.now() - started) / 1000;
console.log(guest);
console.log(
  `\nguest kernel  ${guest}\nhost kernel   ${release()}\nstart         ${startSeconds.toFixed(2)} s, to the program's first output\nwhole run     ${seconds.toFixed(2)} s, removal included`,
);
