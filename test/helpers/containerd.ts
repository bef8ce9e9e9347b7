/**
 * A containerd of a test's own: one of Debian's releases, unpacked and not installed, with configuration, root, state
 * and socket in a temporary directory, in namespaces of its own, with CRI, a bridge network, and the runtime entries
 * `runc` and `tskata`. It can be killed and started again; at the end it must have left nothing.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { type CniConfig, PAUSE_IMAGE, pathsIn, writeConfig } from './containerd/config.ts';
import { BUSYBOX_IMAGE, writeBaseImages } from './containerd/images.ts';
import { findTraces, removeCgroupParent, type Traces } from './containerd/leaks.ts';
import { type InsideOptions, TestNamespaces } from './containerd/namespaces.ts';
import { type ContainerdPrograms, type ContainerdRelease, findContainerd } from './containerd/programs.ts';
import { type Cri, connectCri } from './cri/client.ts';
import { BUILD, ending, eventually, type Result, watchOutput } from './tskata.ts';

export interface ContainerdOptions {
  /** '1.6' unless said otherwise. */
  readonly release?: ContainerdRelease;
  readonly cni?: CniConfig;
  readonly snapshotter?: 'overlayfs' | 'native';
  /** More lines for config.toml. */
  readonly extraConfig?: string;
  /** Added to its environment, and so to that of shims' launchers. */
  readonly env?: Readonly<Record<string, string>>;
  /** No images and no wait for CRI: for tests that use `ctr` with a root directory alone. */
  readonly withoutImages?: boolean;
}

const BOOT_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 20_000;
/** Shims end a while after the last answer; on a loaded machine that takes seconds. */
const TRACES_TIMEOUT_MS = 30_000;

export class Containerd {
  readonly directory: string;
  readonly programs: ContainerdPrograms;
  readonly namespaces: TestNamespaces;
  /** Parent of the cgroups of pods that ask for it (linux.cgroupParent): empty at the end. */
  readonly cgroupParent: string;
  readonly #env: Readonly<Record<string, string>>;
  #daemon: { readonly child: ChildProcess; readonly ended: Promise<number>; readonly log: () => string } | undefined;
  #cri: Cri | undefined;

  private constructor(
    directory: string,
    programs: ContainerdPrograms,
    namespaces: TestNamespaces,
    env: Readonly<Record<string, string>>,
  ) {
    this.directory = directory;
    this.programs = programs;
    this.namespaces = namespaces;
    this.cgroupParent = `/tskata-test-${basename(directory)}`;
    this.#env = {
      PATH: `${join(BUILD, 'bin')}:${programs.bin}:${programs.runc}:${process.env.PATH}`,
      TSKATA_RUN_ROOT: join(directory, 'run'),
      TSKATA_LIB_ROOT: join(directory, 'lib'),
      ...env,
    };
  }

  /** Starts one; `dispose` ends it. */
  static async start(options: ContainerdOptions = {}): Promise<Containerd> {
    const programs = await findContainerd(options.release ?? '1.6');
    const directory = mkdtempSync(join(tmpdir(), 'tsk-'));
    const namespaces = await TestNamespaces.open();
    const containerd = new Containerd(directory, programs, namespaces, options.env ?? {});
    try {
      const { cni, snapshotter, extraConfig: extra } = options;
      writeConfig({
        programs,
        directory,
        ...(cni === undefined ? {} : { cni }),
        ...(snapshotter === undefined ? {} : { snapshotter }),
        ...(extra === undefined ? {} : { extra }),
      });
      await containerd.boot();
      if (options.withoutImages !== true) await containerd.#importImages();
      return containerd;
    } catch (error) {
      await containerd.#abandon();
      throw error;
    }
  }

  get paths(): ReturnType<typeof pathsIn> {
    return pathsIn(this.directory);
  }

  /** Run root of the shims. */
  get runRoot(): string {
    return join(this.directory, 'run');
  }

  /** The CRI of it. The connection makes itself anew after a restart. */
  get cri(): Cri {
    this.#cri ??= connectCri(this.paths.socket);
    return this.#cri;
  }

  /** Its log since it was booted last. */
  get log(): string {
    return this.#daemon?.log() ?? '';
  }

  /** Starts the daemon; it must not run. */
  async boot(): Promise<void> {
    const command = [join(this.programs.bin, 'containerd'), '-c', this.paths.config, '-l', 'debug'];
    const child = this.namespaces.start(command, this.#env);
    const output = watchOutput(child);
    this.#daemon = { child, ended: ending(child), log: output.text };
    await output.until(/containerd successfully booted/, BOOT_TIMEOUT_MS);
  }

  /** Ends the daemon and leaves everything else as it is, as an upgrade or a crash does. */
  async halt(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined) return;
    this.#daemon = undefined;
    daemon.child.kill(signal);
    const timer = setTimeout(() => daemon.child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await daemon.ended;
    clearTimeout(timer);
  }

  /** `ctr` with this containerd, in its namespaces (its FIFOs are there). */
  ctr(args: readonly string[], options: InsideOptions = {}): Promise<Result> {
    return this.call([...this.ctrCommand, ...args], options);
  }

  /** The beginning of a `ctr` command line. */
  get ctrCommand(): readonly string[] {
    return [join(this.programs.bin, 'ctr'), '-a', this.paths.socket];
  }

  /** A program in its namespaces. */
  call(command: readonly string[], options: InsideOptions = {}): Promise<Result> {
    return this.namespaces.call(command, { ...options, env: { ...this.#env, ...options.env } });
  }

  /** Everything that pods and containers make on a machine, as it is now. */
  traces(): Promise<Traces> {
    return findTraces(this);
  }

  /** Waits until nothing is left of any pod or container; fails with the list of what is. */
  async settled(): Promise<void> {
    let left: readonly string[] = [];
    await eventually(
      async () => {
        left = Object.values(await this.traces()).flat();
        return left.length === 0;
      },
      TRACES_TIMEOUT_MS,
      'nothing left behind',
    ).catch(() => {
      throw new Error(`left behind:\n${left.join('\n')}`);
    });
  }

  /** Ends it. Throws when something was left behind, after removing it. */
  async dispose(): Promise<void> {
    try {
      await this.settled();
    } finally {
      await this.#abandon();
    }
  }

  async #abandon(): Promise<void> {
    this.#cri?.close();
    await this.halt('SIGTERM');
    for (const pid of (await this.traces()).processes.map((line) => Number(line.split(' ')[1]))) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended meanwhile.
      }
    }
    await this.namespaces.close();
    removeCgroupParent(this.cgroupParent);
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #importImages(): Promise<void> {
    for (const archive of await writeBaseImages(this.directory)) {
      const { status, stderr } = await this.ctr(['-n', 'k8s.io', 'images', 'import', archive]);
      if (status !== 0) throw new Error(`ctr images import ended with ${status}: ${stderr}`);
      rmSync(archive);
    }
    // CRI learns of them from events.
    for (const image of [PAUSE_IMAGE, BUSYBOX_IMAGE]) {
      await eventually(
        async () => (await this.cri.images.imageStatus({ image: { image } })).image !== undefined,
        BOOT_TIMEOUT_MS,
        `image ${image}`,
      );
    }
  }
}
