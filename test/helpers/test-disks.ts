/** Disk images for machines of tests: a busybox root, whatever else a script fills, empty writable disks. */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Runs a program of the host to its end; rejects with its words. */
export function run(
  file: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    let out = '';
    let err = '';
    child.stdout.on('data', (bytes) => {
      out += bytes;
    });
    child.stderr.on('data', (bytes) => {
      err += bytes;
    });
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve(out) : reject(new Error(`${file}: exit ${code}: ${err}`))));
  });
}

/** Disk images for tests: a busybox root as squashfs, and empty ext4 disks. */
export interface TestDisks {
  readonly directory: string;
  readonly busybox: string;
  scratch(name: string, sizeMib?: number): Promise<string>;
  /** A squashfs of a script that fills a directory. */
  squash(name: string, script: string): Promise<string>;
  remove(): Promise<void>;
}

const BUSYBOX_ROOT = `
mkdir -p bin etc tmp root home/app proc sys dev
cp /bin/busybox bin/busybox
for applet in $(bin/busybox --list); do [ -e bin/$applet ] || ln -s busybox bin/$applet; done
printf 'root:x:0:0:root:/root:/bin/sh\\napp:x:1000:1000:app:/home/app:/bin/sh\\n' > etc/passwd
printf 'root:x:0:\\napp:x:1000:\\nstaff:x:50:app\\naudio:x:29:app,root\\n' > etc/group
chmod 1777 tmp; chown 1000:1000 home/app
printf 'not executable' > etc/plain; chmod 644 etc/plain
mkdir suid; cp bin/busybox suid/ping; chmod 4755 suid/ping
`;

/** `more` is a script that adds to the busybox root, with its environment. */
export async function makeTestDisks(more = '', env: Readonly<Record<string, string>> = {}): Promise<TestDisks> {
  const directory = await mkdtemp(join(tmpdir(), 'tskata-agent-vm-'));
  const squash = async (name: string, script: string): Promise<string> => {
    const tree = join(directory, `${name}.tree`);
    await mkdir(tree);
    await run('sh', ['-ec', `cd ${tree}\n${script}`], env);
    const image = join(directory, `${name}.squashfs`);
    await run('mksquashfs', [tree, image, '-noappend', '-quiet', '-no-progress', '-comp', 'zstd']);
    await rm(tree, { recursive: true });
    return image;
  };
  return {
    directory,
    busybox: await squash('busybox', `${BUSYBOX_ROOT}\n${more}`),
    squash,
    async scratch(name, sizeMib = 256) {
      const path = join(directory, `${name}.ext4`);
      await run('truncate', ['-s', `${sizeMib}M`, path]);
      await run('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', '-E', 'lazy_itable_init=1', path]);
      return path;
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}

/** Writes a file of the test's directory. */
export async function writeTestFile(disks: TestDisks, name: string, content: string): Promise<string> {
  const path = join(disks.directory, name);
  await writeFile(path, content);
  return path;
}
