/** `tskata run -it` and `exec -it` in a real terminal: size, keys, and the terminal as it was before. */
import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../../runtime/host/process.ts';
import { ending, eventually, Tskata, watchOutput } from '../../helpers/tskata.ts';

/** Says what the terminal is like when the command before has ended. */
const THEN = '; s=$?; stty -a | grep -oE -- "-?(icanon|echo) "; echo "status $s"';
const RESTORED = /(?<!-)icanon\s+(?<!-)echo\s+status (\d+)/;

/** Processes of that parent. */
function childrenOf(parent: number): number[] {
  const text = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

describe('a terminal', () => {
  let tskata: Tskata;
  let child: ChildProcess;

  beforeAll(async () => {
    tskata = await Tskata.withBusybox();
  });
  afterEach(() => {
    child.kill('SIGKILL');
    expect(tskata.leaks()).toEqual([]);
  });
  afterAll(() => tskata.dispose());

  /** The command's process below script(1), and the terminal that it has. */
  function commandOf(verb: string): { pid: number; terminal: string } | undefined {
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        const ours = readFileSync(`/proc/${pid}/environ`, 'utf8').includes(tskata.runRoot);
        const terminal = readlinkSync(`/proc/${pid}/fd/0`);
        if (
          ours &&
          words.some((word) => word.endsWith('tskata.js')) &&
          words.includes(verb) &&
          terminal.startsWith('/dev/pts/')
        )
          return { pid: Number(pid), terminal };
      } catch {
        // It ended while we looked.
      }
    }
    return undefined;
  }

  it('has its size, also a later one, its keys, and comes back as it was', async () => {
    child = tskata.startInTerminal(`stty rows 33 cols 101; $TSKATA run --rm -it busybox sh${THEN}`);
    const ended = ending(child);
    const output = watchOutput(child);
    await output.until(/# /);
    child.stdin?.write('stty size; tty; echo "$TERM"\n');
    await output.until(/33 101\s+\/dev\/pts\/0\s+xterm/);
    // Nothing on the way adds to the line ends of the container's own terminal.
    expect(output.text()).toMatch(/33 101\r\n\/dev/);
    const command = commandOf('run');
    expect(command).toBeDefined();
    const { terminal } = command as { terminal: string };
    expect((await run('stty', ['-F', terminal, '-a'], { timeoutMs: 5_000 })).stdout).toContain('-icanon');
    await run('stty', ['-F', terminal, 'rows', '44', 'cols', '122'], { timeoutMs: 5_000 });
    await eventually(
      async () => {
        child.stdin?.write('stty size\n');
        await new Promise((resolve) => setTimeout(resolve, 200));
        return output.text().includes('44 122');
      },
      10_000,
      'the new size is known inside',
    );
    // Spelled so that the echo of what was typed does not look like the answer.
    const catches = 'sh -c \'trap "echo cau""ght; exit 7" INT; echo be""gun; while :; do sleep 0.1; done\'';
    child.stdin?.write(`${catches}; echo "after $?"\n`);
    await output.until(/begun/);
    child.stdin?.write('\x03');
    await output.until(/caught\s+after 7/);
    child.stdin?.write('exit 3\n');
    await output.until(RESTORED);
    expect(RESTORED.exec(output.text())?.[1]).toBe('3');
    await ended;
  });

  it('comes back when the container is killed', async () => {
    child = tskata.startInTerminal(`$TSKATA run --rm --name gone -it busybox sh${THEN}`);
    const ended = ending(child);
    const output = watchOutput(child);
    await output.until(/# /);
    await tskata.ok('kill', 'gone');
    await output.until(RESTORED);
    expect(RESTORED.exec(output.text())?.[1]).toBe('137');
    await ended;
  });

  it('comes back when the command is asked to end, and hands that on', async () => {
    const trap = 'trap "exit 4" TERM; echo ready; while :; do sleep 0.1; done';
    child = tskata.startInTerminal(`$TSKATA run --rm -it busybox sh -c '${trap}'${THEN}`);
    const ended = ending(child);
    const output = watchOutput(child);
    await output.until(/ready/);
    const command = commandOf('run');
    process.kill((command as { pid: number }).pid, 'SIGTERM');
    await output.until(RESTORED);
    expect(RESTORED.exec(output.text())?.[1]).toBe('4');
    await ended;
  });

  it.each(['run', 'exec'])('comes back when %s is killed', async (verb) => {
    if (verb === 'exec') await tskata.ok('run', '-d', '--name', 'lasts', 'busybox', 'sleep', '1000');
    const line = verb === 'run' ? '$TSKATA run --name lasts -it busybox sh' : '$TSKATA exec -it lasts sh';
    child = tskata.startInTerminal(`${line}; sleep 0.5${THEN}`);
    const ended = ending(child);
    const output = watchOutput(child);
    await output.until(/# /);
    const { pid } = commandOf(verb) as { pid: number };
    // What holds the terminal heeds nobody but the command.
    const [holder = 0] = childrenOf(pid);
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1'] as const) process.kill(holder, signal);
    process.kill(pid, 'SIGKILL');
    await output.until(RESTORED);
    await ended;
    // The container is not the command: it goes on.
    await tskata.ok('rm', '-f', 'lasts');
    await eventually(() => tskata.leaks().length === 0, 20_000, 'nothing is left');
  });

  it('takes what runs in it along when it is closed', async () => {
    child = tskata.startInTerminal('$TSKATA run --rm -it busybox sh');
    await watchOutput(child).until(/# /);
    child.kill('SIGKILL');
    await eventually(() => tskata.leaks().length === 0, 20_000, 'nothing is left');
  });

  it('is there for exec, and goes away while a detached container stays', async () => {
    child = tskata.startInTerminal('$TSKATA run -d --name stays -it busybox sh; $TSKATA exec -it stays sh');
    const ended = ending(child);
    const output = watchOutput(child);
    await output.until(/# /);
    child.stdin?.write('tty; exit 6\n');
    expect(await ended).toBe(6);
    expect(output.text()).toMatch(/\/dev\/pts\/\d/);
    // Its terminal has gone; it has not.
    expect(await tskata.ok('exec', 'stays', 'echo', 'here')).toBe('here');
    await tskata.ok('rm', '-f', 'stays');
  });
});
