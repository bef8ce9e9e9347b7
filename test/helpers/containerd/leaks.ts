/** What pods and containers make on a machine: looked for where a test's containerd would leave it. */
import { existsSync, readdirSync, readFileSync, readlinkSync, rmdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { TestNamespaces } from './namespaces.ts';

/** One line for each thing, by kind. All empty: nothing is left. */
export interface Traces {
  /** "process PID: command line". */
  readonly processes: readonly string[];
  readonly mounts: readonly string[];
  readonly networkNamespaces: readonly string[];
  /** Links beside loopback and the bridge. */
  readonly links: readonly string[];
  readonly addressLeases: readonly string[];
  readonly portRules: readonly string[];
  readonly cgroups: readonly string[];
  /** Sockets, records, bundles. */
  readonly files: readonly string[];
}

/** Where to look. */
interface Place {
  readonly directory: string;
  readonly runRoot: string;
  readonly cgroupParent: string;
  readonly namespaces: TestNamespaces;
  readonly paths: { readonly state: string; readonly leases: string };
}

const CGROUPS = '/sys/fs/cgroup';
/** Its address file and lock stay; a lease is a file named by its address. */
const LEASE = /^[0-9a-f.:]+$/;

export async function findTraces(place: Place): Promise<Traces> {
  const { namespaces, paths } = place;
  const read = async (...command: string[]): Promise<string[]> =>
    (await namespaces.call(command)).stdout.split('\n').filter((line) => line !== '');
  const [mounts, links, rules, names, sockets] = await Promise.all([
    read('cat', '/proc/self/mountinfo'),
    read('ip', '-brief', 'link'),
    read('sh', '-c', 'iptables-save -t nat 2>/dev/null; ip6tables-save -t nat 2>/dev/null'),
    read('ls', '/run/netns'),
    read('find', '/run/containerd', '-type', 's'),
  ]);
  return {
    processes: processesOf(place),
    mounts: mounts
      .map((line) => line.split(' ')[4] ?? '')
      .filter((point) => point.startsWith(`${place.directory}/`))
      .map((point) => `mount ${point}`),
    networkNamespaces: names.map((name) => `network namespace ${name}`),
    links: linksOf(links).map((name) => `link ${name}`),
    addressLeases: walk(paths.leases, (name) => LEASE.test(name)).map((path) => `lease ${path}`),
    portRules: rules.filter((line) => line.startsWith('-A CNI-DN-')).map((line) => `rule ${line}`),
    cgroups: cgroupsBelow(place.cgroupParent).map((path) => `cgroup ${path}`),
    files: [
      ...sockets,
      ...entriesOf(join(place.runRoot, 's')).filter((path) => /\.(sock|d)$/.test(path)),
      ...entriesOf(place.runRoot)
        .filter((path) => !/\/(s|cache|uids|\.jail)$/.test(path))
        .flatMap(entriesOf),
      ...entriesOf(join(paths.state, 'io.containerd.runtime.v2.task'))
        .flatMap(entriesOf)
        // A bundle that containerd was removing when it was killed has a dot before its name, and stays for ever.
        .filter((path) => !basename(path).startsWith('.')),
    ].map((path) => `file ${path}`),
  };
}

/**
 * Those in the test's namespaces, or that hold or name a file of its directory, and their descendants; without the
 * holder, the daemon, and programs that the test itself runs in the namespaces.
 */
function processesOf(place: Place): string[] {
  const holder = place.namespaces.pid;
  const own = ['mnt', 'net'].map((kind) => linkOf(`/proc/${holder}/ns/${kind}`));
  const found = new Map<number, string>();
  const children = new Map<number, number[]>();
  const commands = new Map<number, string>();
  for (const path of entriesOf('/proc').filter((entry) => /\/\d+$/.test(entry))) {
    const pid = Number(path.slice('/proc/'.length));
    const parent = Number(/^PPid:\s+(\d+)$/m.exec(contentOf(`${path}/status`))?.[1]);
    const words = contentOf(`${path}/cmdline`).split('\0');
    const command = words.join(' ').slice(0, 160);
    // Without a command line it has given up its memory already: it is on its way out.
    if (pid === holder || parent === process.pid || command === '' || /\/containerd$/.test(words[0] ?? '')) continue;
    commands.set(pid, command);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
    const ours =
      ['mnt', 'net'].some((kind, index) => linkOf(`${path}/ns/${kind}`) === own[index]) ||
      command.includes(`${place.directory}/`) ||
      entriesOf(`${path}/fd`).some((fd) => linkOf(fd).startsWith(`${place.directory}/`));
    if (ours && pid !== process.pid) found.set(pid, command);
  }
  for (const pid of found.keys()) {
    for (const child of children.get(pid) ?? []) found.set(child, commands.get(child) ?? '');
  }
  return [...found].map(([pid, command]) => `process ${pid} ${command}`);
}

/** Names of the lines of `ip -brief link`. Tunnel devices of some kernels are in every namespace. */
function linksOf(lines: readonly string[]): string[] {
  const names = lines.map((line) => (line.split(/\s/)[0] ?? '').replace(/@.*/, ''));
  return names.filter(
    (name) => !/^(lo|cni0|ifb\d|(tunl|sit|ip6tnl|gre|gretap|erspan|ip_vti|ip6_vti|ip6gre)0)$/.test(name),
  );
}

/** A group by its path below the root, in every hierarchy of cgroup v1 and in the one of v2. */
export function findGroups(path: string): string[] {
  return [CGROUPS, ...entriesOf(CGROUPS)]
    .map((hierarchy) => join(hierarchy, path))
    .filter((group) => existsSync(group));
}

function cgroupsBelow(parent: string): string[] {
  return findGroups(parent).flatMap((group) => walk(group, undefined));
}

/** Removes the emptied parent of a test's cgroups, which whoever made the first child made with it. */
export function removeCgroupParent(parent: string): void {
  for (const group of findGroups(parent)) {
    try {
      rmdirSync(group);
    } catch {
      // Something is left in it, which has been told.
    }
  }
}

/** Files below a directory whose names match; without a filter, the directories. */
function walk(directory: string, filter: ((name: string) => boolean) | undefined): string[] {
  try {
    return readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => (filter === undefined ? entry.isDirectory() : entry.isFile() && filter(entry.name)))
      .map((entry) => join(entry.parentPath, entry.name));
  } catch {
    return [];
  }
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory).map((name) => join(directory, name));
  } catch {
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function contentOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
