/**
 * A real registry on loopback for tests: Debian's docker-registry with a configuration of its own (no password, storage
 * in a temporary directory), on a port that the kernel chose. Images get there by skopeo from an OCI layout.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { run } from '../../runtime/host/process.ts';

const START_TIMEOUT_MS = 20_000;
const PUSH_TIMEOUT_MS = 120_000;

/** A running registry. */
export interface TestRegistry {
  /** "127.0.0.1:PORT": the beginning of image names. */
  readonly address: string;
  /** Its files: blobs lie below docker/registry/v2/blobs/sha256/xx/<digest>/data. */
  readonly directory: string;
  /**
   * Copies an image (`oci:DIR:TAG` or another transport of skopeo) to `name`, "repository:tag", as "user:password" if it
   * asks for one; returns the full name.
   */
  push(source: string, name: string, credentials?: string): Promise<string>;
  stop(): Promise<void>;
}

/** Optional password: "user", and its bcrypt line for htpasswd. */
export interface RegistryOptions {
  readonly htpasswd?: string;
  /** Words before a command that make it run where its clients are, in a network namespace of a test. */
  readonly within?: readonly string[];
}

export async function startRegistry(options: RegistryOptions = {}): Promise<TestRegistry> {
  const directory = await mkdtemp(join(tmpdir(), 'tskata-registry-'));
  const port = await freePort();
  const address = `127.0.0.1:${port}`;
  const htpasswd = join(directory, 'htpasswd');
  if (options.htpasswd !== undefined) await writeFile(htpasswd, options.htpasswd);
  const auth = options.htpasswd === undefined ? '' : `auth:\n  htpasswd:\n    realm: test\n    path: ${htpasswd}\n`;
  const config = join(directory, 'config.yml');
  await writeFile(
    config,
    `version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: ${directory}\n  delete:\n    enabled: true\nhttp:\n  addr: ${address}\n${auth}`,
  );
  const within = (...command: readonly string[]): [string, string[]] => {
    const [program = '', ...args] = [...(options.within ?? []), ...command];
    return [program, args];
  };
  const child = spawn(...within('docker-registry', 'serve', config), { stdio: ['ignore', 'ignore', 'pipe'] });
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await rm(directory, { recursive: true, force: true });
  };
  try {
    await listening(child);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    address,
    directory,
    stop,
    push: async (source, name, credentials) => {
      const login = credentials === undefined ? [] : ['--dest-creds', credentials];
      const flags = ['--quiet', '--preserve-digests', '--dest-tls-verify=false', ...login];
      const command = within('skopeo', 'copy', ...flags, source, `docker://${address}/${name}`);
      await run(...command, { timeoutMs: PUSH_TIMEOUT_MS });
      return `${address}/${name}`;
    },
  };
}

/** The registry says so on standard error when it accepts connections. */
async function listening(child: ChildProcess): Promise<void> {
  if (child.stderr === null) throw new Error('docker-registry has no standard error');
  const lines = createInterface(child.stderr);
  let last = '';
  const ready = (async () => {
    for await (const line of lines) {
      last = line;
      if (line.includes('listening on')) return;
    }
    throw new Error(`docker-registry ended: ${last}`);
  })();
  const late = AbortSignal.timeout(START_TIMEOUT_MS);
  await Promise.race([
    ready,
    once(late, 'abort').then(() => {
      throw new Error(`docker-registry does not listen after ${START_TIMEOUT_MS} ms: ${last}`);
    }),
  ]);
  // Whatever it still says has to be read, or it stops at a full pipe.
  child.stderr.resume();
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}
