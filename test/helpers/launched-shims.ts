/** The launcher as containerd runs it, with a program in the shim's place that tells what it was given to whoever asks. */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { findProcess } from '../../runtime/state/process-ref.ts';
import { DeleteResponse } from '../../shim/task/generated/task.ts';
import { buildHelper, type HelperBuild } from './native.ts';

const SHIM = `
  const net = require('node:net');
  const fs = require('node:fs');
  const fds = fs.readdirSync('/proc/self/fd').filter((fd) => Number(fd) <= 4);
  let assign = '';
  const socket = new net.Socket({ fd: 4 });
  socket.on('data', (chunk) => { assign += chunk; });
  socket.on('end', () => {
    socket.destroy();
    const server = net.createServer((client) => {
      const session = fs.readFileSync('/proc/self/stat', 'utf8').split(') ')[1].split(' ')[3];
      const facts = { assign, fds, env: process.env, cwd: process.cwd(), pid: process.pid, session };
      client.on('error', () => {});
      client.once('data', () => client.end(JSON.stringify(facts)));
    });
    server.listen({ fd: 3 });
  });
  setTimeout(() => process.exit(0), 20000);
`;

/** What such a shim tells of itself. */
export type ShimFacts = Record<string, unknown> & { readonly assign: string; readonly pid: number };

export class LaunchedShims {
  readonly build: HelperBuild;
  readonly launcher: string;
  readonly environment: NodeJS.ProcessEnv;
  /** Directory of the current bundle. */
  bundle = '';
  /** Goes up with each bundle, for ids that differ. */
  counter = 0;
  readonly #shims = new Set<number>();

  private constructor(build: HelperBuild) {
    this.build = build;
    const lib = join(build.directory, 'lib');
    symlinkSync('tskata-helper', join(lib, 'containerd-shim-tskata-v2'));
    symlinkSync('tskata-helper', join(lib, 'tskata'));
    symlinkSync(process.execPath, join(lib, 'node'));
    writeFileSync(join(lib, 'shim.js'), SHIM);
    writeFileSync(join(lib, 'tskata.js'), 'console.log(JSON.stringify([process.argv.slice(2), process.env]))');
    this.launcher = join(lib, 'containerd-shim-tskata-v2');
    this.environment = {
      TSKATA_RUN_ROOT: build.runRoot,
      TSKATA_LIB_ROOT: join(build.directory, 'state'),
      SECRET: 'x',
      NODE_OPTIONS: '--no-such-flag',
    };
  }

  static async build(): Promise<LaunchedShims> {
    return new LaunchedShims(await buildHelper());
  }

  newBundle(): void {
    this.counter += 1;
    this.bundle = mkdtempSync(join(this.build.directory, 'bundle-'));
  }

  args(command: string, id = `c${this.counter}`): string[] {
    const bundle = command === 'delete' ? ['-bundle', this.bundle] : [];
    const caller = ['-namespace', 'default', '-address', '/run/a.sock', '-publish-binary', ''];
    return [...caller, '-id', id, ...bundle, command];
  }

  /** Returns the address that was answered. */
  async start(id?: string): Promise<string> {
    const { stdout, stderr } = await promisify(execFile)(this.launcher, this.args('start', id), {
      cwd: this.bundle,
      env: { ...this.environment, TTRPC_ADDRESS: '/run/t.sock' },
    });
    expect(stderr).toBe('');
    return stdout;
  }

  delete(id: string): DeleteResponse {
    return DeleteResponse.decode(
      execFileSync(this.launcher, this.args('delete', id), { cwd: '/', env: this.environment }),
    );
  }

  async facts(address: string): Promise<ShimFacts> {
    const socket = connect(address.replace('unix://', ''));
    socket.write('tell');
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    const told = JSON.parse(Buffer.concat(chunks).toString());
    this.#shims.add(told.pid);
    return told;
  }

  async kill(pid: number): Promise<void> {
    process.kill(pid, 'SIGKILL');
    this.hasEnded(pid);
    // Nobody's child here: there is no event to wait for.
    while (findProcess(pid) !== undefined) await sleep(5);
    // The first thread is a zombie before the last one has closed the listening socket.
    while (threadsOf(pid) > 1) await sleep(5);
  }

  /** One that ended by itself. */
  hasEnded(pid: number): void {
    this.#shims.delete(pid);
  }

  async remove(): Promise<void> {
    for (const pid of this.#shims) await this.kill(pid);
    await this.build.remove();
  }
}

function threadsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).length;
  } catch {
    return 0;
  }
}
