/**
 * A pod of one container with a network that CNI plugins made, in a machine that the built command starts from a bundle
 * which names the network namespace, as a container engine would.
 */
import { execFile } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ContainerRecord } from '../../runtime/state/record.ts';
import { NetworkNamespace } from './network-namespaces.ts';
import { eventually, type Tskata } from './tskata.ts';

const execute = promisify(execFile);
const ASK_TIMEOUT_MS = 60_000;
const START_TIMEOUT_MS = 200_000;

/** Port on which the container of every pod answers, by TCP and UDP. */
export const TALK_PORT = 7;

/** What pods are made with. */
export interface PodParts {
  readonly tskata: Tskata;
  /** Path of the program `talk`. */
  readonly talk: string;
}

/** An interface and all routes, as text that is the same whoever prints it. */
export interface NetworkStateText {
  readonly addresses: readonly string[];
  readonly routes: readonly string[];
  readonly mac: string;
  readonly mtu: number;
}

export class Pod {
  readonly network: NetworkNamespace;
  readonly #parts: PodParts;
  #id = '';

  constructor(parts: PodParts, name: string) {
    this.#parts = parts;
    this.network = new NetworkNamespace(name);
  }

  get record(): ContainerRecord {
    return this.#parts.tskata.record(this.#id);
  }

  /** Starts the machine. Its network is what is in the namespace by now. */
  async start(): Promise<void> {
    const { tskata } = this.#parts;
    const options = { timeoutMs: START_TIMEOUT_MS };
    const { status, stdout, stderr } = await tskata.call(['run', '-d', '--bundle', this.bundle()], options);
    if (status !== 0) throw new Error(`the pod did not start: ${stderr}`);
    this.#id = stdout.trim();
    const served = async (): Promise<boolean> => (await tskata.ok('logs', this.#id)).includes('serving');
    await eventually(served, START_TIMEOUT_MS, 'a server in the container');
  }

  /** Writes a bundle of a container that serves. */
  bundle(path: string = this.network.path): string {
    const { tskata, talk } = this.#parts;
    const bundle = join(tskata.directory, `bundle-${this.network.name}`);
    if (!existsSync(bundle)) makeRootfs(join(bundle, 'rootfs'), talk);
    // For ports below 1024 and for ping.
    const own = ['CAP_NET_BIND_SERVICE', 'CAP_NET_RAW'];
    const config = {
      ociVersion: '1.1.0',
      root: { path: 'rootfs' },
      process: {
        args: ['/bin/talk', 'serve', String(TALK_PORT)],
        cwd: '/',
        env: ['PATH=/bin'],
        user: { uid: 0, gid: 0 },
        capabilities: { bounding: own, effective: own, permitted: own },
      },
      mounts: [{ destination: '/proc', type: 'proc', source: 'proc' }],
      linux: { namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'network', path }] },
    };
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
    return bundle;
  }

  /** Runs a program in the container; what it printed. */
  run(...command: readonly string[]): Promise<string> {
    return this.#parts.tskata.ok('exec', this.#id, ...command);
  }

  /** Asks a server from within the container. */
  ask(protocol: string, address: string, port: number, words: string): Promise<string> {
    return this.run('talk', 'ask', protocol, address, String(port), words);
  }

  /** What the guest has of an interface and of routes, in the form of `stateIn`. */
  async state(name: string): Promise<NetworkStateText> {
    const script = [`ip -o addr show dev ${name}`, 'ip -4 route', 'ip -6 route', `ip link show dev ${name}`];
    const parts = (await this.run('sh', '-c', script.join('; echo ---; '))).split('---\n');
    const [addresses = '', four = '', six = '', link = ''] = parts;
    return {
      addresses: spellAddresses([...addresses.matchAll(/inet6? (\S+)/g)].map(([, address = '']) => address)),
      routes: [...spellRoutes(four), ...spellRoutes(six)],
      mac: /link\/ether (\S+)/.exec(link)?.[1] ?? '',
      mtu: Number(/mtu (\d+)/.exec(link)?.[1]),
    };
  }

  /** Removes the container and its machine. */
  async remove(): Promise<void> {
    if (this.#id !== '') await this.#parts.tskata.ok('rm', '-f', this.#id);
    this.#id = '';
  }
}

/** A busybox with what tests ask for, and `talk`. */
function makeRootfs(rootfs: string, talk: string): void {
  const bin = join(rootfs, 'bin');
  for (const name of ['bin', 'proc', 'sys']) mkdirSync(join(rootfs, name), { recursive: true });
  copyFileSync('/bin/busybox', join(bin, 'busybox'));
  copyFileSync(talk, join(bin, 'talk'));
  for (const name of ['sh', 'ip', 'ping', 'ping6', 'cat']) symlinkSync('busybox', join(bin, name));
}

/** Asks a server from within a namespace of the host. */
export async function askFrom(
  namespace: NetworkNamespace,
  talk: string,
  [protocol, address, port, words]: readonly [string, string, number, string],
): Promise<string> {
  const args = ['netns', 'exec', namespace.name, talk, 'ask', protocol, address, String(port), words];
  const { stdout } = await execute('ip', args, { timeout: ASK_TIMEOUT_MS });
  return stdout;
}

/** The same of a namespace of the host. */
export function stateIn(namespace: NetworkNamespace, name: string): NetworkStateText {
  const [link] = namespace.ip(`addr show dev ${name}`) as [
    { address: string; mtu: number; addr_info: { local: string; prefixlen: number }[] },
  ];
  return {
    addresses: spellAddresses(link.addr_info.map(({ local, prefixlen }) => `${local}/${prefixlen}`)),
    routes: (['-4', '-6'] as const).flatMap((family) => spellRoutes(namespace.run('ip', family, 'route'))),
    mac: link.address,
    mtu: link.mtu,
  };
}

/** Sorted, without link-local ones, which each side makes for itself. */
function spellAddresses(addresses: readonly string[]): string[] {
  return addresses.filter((each) => !each.startsWith('fe80:')).sort();
}

/** Without what only one of the two programs says: the protocol, a preference, a state. */
function spellRoutes(text: string): string[] {
  const lines = text.split('\n').map((line) =>
    line
      .replaceAll(/ (proto|pref) \S+| linkdown/g, '')
      .replaceAll(/\s+/g, ' ')
      .trim(),
  );
  return lines.filter((line) => line !== '' && !/^(fe80|ff00|multicast)/.test(line)).sort();
}
