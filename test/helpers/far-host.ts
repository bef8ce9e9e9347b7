/**
 * Another host: a network namespace behind a veth pair, in which a program serves. The machine's own addresses will not
 * do, because guests may not reach them.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';

/** Of iproute2, which only tests use. */
const IP = '/sbin/ip';

export interface FarHost {
  /** What the program printed when it was ready. */
  readonly greeting: string;
  close(): void;
}

/**
 * Makes the host and runs `program`, JavaScript for Node, in it until it has printed a line.
 *
 * @param name of the namespace and, with a digit, of the two ends; at most 14 characters
 * @param near our address, @param far its address, both in one /30
 */
export async function openFarHost(name: string, near: string, far: string, program: string): Promise<FarHost> {
  const ip = (...args: string[]): void => void execFileSync(IP, args, { stdio: 'pipe' });
  let child: ChildProcess | undefined;
  const close = (): void => {
    child?.kill('SIGKILL');
    // The pair goes with it.
    ip('netns', 'del', name);
  };
  ip('netns', 'add', name);
  try {
    ip('link', 'add', `${name}0`, 'type', 'veth', 'peer', 'name', `${name}1`, 'netns', name);
    ip('addr', 'add', `${near}/30`, 'dev', `${name}0`);
    ip('link', 'set', `${name}0`, 'up');
    ip('-n', name, 'addr', 'add', `${far}/30`, 'dev', `${name}1`);
    ip('-n', name, 'link', 'set', `${name}1`, 'up');
    child = spawn(IP, ['netns', 'exec', name, process.execPath, '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [greeting] = (await once(child.stdout as Readable, 'data')) as [Buffer];
    return { greeting: greeting.toString().trim(), close };
  } catch (error) {
    close();
    throw error;
  }
}
