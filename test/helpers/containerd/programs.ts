/**
 * The containerds that the tests run: Debian's packages of three suites, unpacked into the cache and never installed,
 * because Debian's containerd displaces other container engines. runc and the CNI plugins are bookworm's for all of
 * them: the later runcs need a later C library.
 */
import { access, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../../runtime/host/process.ts';

/** The releases, each with the suite that has it. */
const SUITES = { '1.6': 'bookworm', '1.7': 'trixie', '2.1': 'sid' } as const;

/** A release of containerd that can be had. */
export type ContainerdRelease = keyof typeof SUITES;

/** All of them, oldest first. */
export const CONTAINERD_RELEASES: readonly ContainerdRelease[] = ['1.6', '1.7', '2.1'];

/** Where its programs are. */
export interface ContainerdPrograms {
  readonly release: ContainerdRelease;
  /** Directory with containerd, ctr and containerd-shim-runc-v2. */
  readonly bin: string;
  /** Directory with runc. */
  readonly runc: string;
  /** Directory with the CNI plugins. */
  readonly cni: string;
}

const MIRROR = 'http://deb.debian.org/debian';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const TIMEOUT_MS = 300_000;

/** Finds the programs of a release in the cache, or puts them there. */
export async function findContainerd(release: ContainerdRelease): Promise<ContainerdPrograms> {
  const common = await unpacked('bookworm', ['runc', 'containernetworking-plugins']);
  const own = await unpacked(SUITES[release], ['containerd']);
  return {
    release,
    bin: join(own, 'usr/bin'),
    runc: join(common, 'usr/sbin'),
    cni: join(common, 'usr/lib/cni'),
  };
}

/** A directory with the contents of packages of a suite. */
async function unpacked(suite: string, packages: readonly string[]): Promise<string> {
  const cache = process.env.TSKATA_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'tskata');
  const parent = join(cache, 'test-containerd');
  const directory = join(parent, `${suite}-${packages.join('-')}`);
  if (await exists(directory)) return directory;
  const work = `${directory}.${process.pid}`;
  await mkdir(join(work, 'root'), { recursive: true });
  try {
    await download(suite, packages, work);
    for (const file of (await readdir(work)).filter((name) => name.endsWith('.deb')))
      await run('dpkg-deb', ['-x', join(work, file), join(work, 'root')], { timeoutMs: TIMEOUT_MS });
    await rename(join(work, 'root'), directory).catch(async (error: NodeJS.ErrnoException) => {
      // Another test run was quicker.
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
    await writeFile(join(parent, 'README'), 'Unpacked Debian packages for tests. Safe to delete.\n');
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return directory;
}

/** Downloads packages of a suite into `work`, with package lists of its own: the machine's stay as they are. */
async function download(suite: string, packages: readonly string[], work: string): Promise<void> {
  await mkdir(join(work, 'lists/partial'), { recursive: true });
  await mkdir(join(work, 'archives/partial'), { recursive: true });
  await writeFile(join(work, 'sources.list'), `deb [signed-by=${KEYRING}] ${MIRROR} ${suite} main\n`);
  await writeFile(join(work, 'status'), '');
  const options = [
    `Dir::Etc::sourcelist=${work}/sources.list`,
    'Dir::Etc::sourceparts=/dev/null',
    `Dir::State::lists=${work}/lists`,
    `Dir::State::status=${work}/status`,
    `Dir::Cache=${work}`,
    'Acquire::Languages=none',
    // It may not enter a directory of root's; the signatures are checked all the same.
    'APT::Sandbox::User=root',
    // A mirror that is a snapshot keeps a sid of last month: signed, but past its date.
    'Acquire::Check-Valid-Until=false',
  ].flatMap((option) => ['-o', option]);
  await run('apt-get', [...options, '-q=2', 'update'], { timeoutMs: TIMEOUT_MS });
  await run('apt-get', [...options, '-q=2', 'download', ...packages], { timeoutMs: TIMEOUT_MS, cwd: work });
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
