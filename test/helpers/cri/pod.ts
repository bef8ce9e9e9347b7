/** A pod and its containers as kubelet handles them, over CRI: made, looked at, stopped and removed in kubelet's order. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Init } from '../../../agent/protocol/message.ts';
import { BUSYBOX_IMAGE } from '../containerd/images.ts';
import type { Containerd } from '../containerd.ts';
import { eventually, type Result } from '../tskata.ts';
import {
  type ContainerConfig,
  ContainerState,
  type ContainerStatus,
  type PodSandboxConfig,
  type PodSandboxStatus,
} from './generated/cri.ts';

/** The runtime entry of a pod. */
export type Handler = 'runc' | 'tskata';

/** A container's configuration; what is left out is busybox without anything special. */
export type ContainerOptions = Init<ContainerConfig> & { readonly name: string };

const STREAM = join(import.meta.dirname, 'stream.ts');
const EXIT_TIMEOUT_MS = 120_000;
const EXEC_TIMEOUT_S = 60n;
let podsMade = 0;

/** A running pod. */
export class Pod {
  readonly containerd: Containerd;
  readonly handler: Handler;
  readonly id: string;
  readonly config: Init<PodSandboxConfig>;
  readonly logDirectory: string;
  #attempts = 0;

  private constructor(
    containerd: Containerd,
    handler: Handler,
    id: string,
    config: Init<PodSandboxConfig>,
    logDirectory: string,
  ) {
    this.containerd = containerd;
    this.handler = handler;
    this.id = id;
    this.config = config;
    this.logDirectory = logDirectory;
  }

  /** Runs one. What `options` leaves out is what kubelet gives to every pod. */
  static async run(containerd: Containerd, handler: Handler, options: Init<PodSandboxConfig> = {}): Promise<Pod> {
    const name = options.metadata?.name ?? `pod${podsMade++}`;
    const logDirectory = join(containerd.directory, 'logs', `${handler}-${name}-${podsMade}`);
    mkdirSync(logDirectory, { recursive: true });
    const config = {
      hostname: name,
      dnsConfig: { servers: ['10.96.0.10'], searches: ['test.svc.cluster.local'], options: ['ndots:5'] },
      ...options,
      metadata: { name, uid: `${handler}-${name}-${podsMade++}`, namespace: 'test' },
      logDirectory,
      linux: { cgroupParent: containerd.cgroupParent, ...options.linux },
    };
    const { podSandboxId } = await containerd.cri.runtime.runPodSandbox({ config, runtimeHandler: handler });
    return new Pod(containerd, handler, podSandboxId, config, logDirectory);
  }

  async status(): Promise<PodSandboxStatus> {
    const { status } = await this.containerd.cri.runtime.podSandboxStatus({ podSandboxId: this.id });
    if (status === undefined) throw new Error(`pod ${this.id} has no status`);
    return status;
  }

  /** Makes a container, not yet started. */
  async create(options: ContainerOptions): Promise<PodContainer> {
    const { name, ...rest } = options;
    const attempt = this.#attempts++;
    const logPath = `${name}-${attempt}.log`;
    const config = {
      image: { image: BUSYBOX_IMAGE },
      ...rest,
      logPath,
      metadata: { name, attempt },
    };
    const { containerId } = await this.containerd.cri.runtime.createContainer({
      podSandboxId: this.id,
      config,
      sandboxConfig: this.config,
    });
    return new PodContainer(this, containerId, join(this.logDirectory, logPath));
  }

  /** Makes and starts a container. */
  async start(options: ContainerOptions): Promise<PodContainer> {
    const container = await this.create(options);
    await this.containerd.cri.runtime.startContainer({ containerId: container.id });
    return container;
  }

  /** A container that runs a shell script to its end: what it wrote, how it ended. It is removed. */
  async shell(script: string, options: Partial<ContainerOptions> = {}): Promise<Result> {
    const container = await this.start({ name: 'shell', ...options, command: ['sh', '-c', script] });
    const status = await container.exit();
    const result = { status, stdout: container.log('stdout'), stderr: container.log('stderr') };
    await container.remove();
    return result;
  }

  /** One forwarded connection to a port of it: gives `input`, returns what came until the other side closed. */
  async forward(port: number, input: string): Promise<Result> {
    const { runtime } = this.containerd.cri;
    const { url } = await runtime.portForward({ podSandboxId: this.id, port: [port] });
    return await this.containerd.call([process.execPath, STREAM, 'port-forward', url, String(port)], { input });
  }

  stop(): Promise<unknown> {
    return this.containerd.cri.runtime.stopPodSandbox({ podSandboxId: this.id });
  }

  /** Stops and removes it with its containers. */
  async remove(): Promise<void> {
    await this.stop();
    await this.containerd.cri.runtime.removePodSandbox({ podSandboxId: this.id });
  }
}

/** A container of a pod. */
export class PodContainer {
  readonly pod: Pod;
  readonly id: string;
  readonly #logPath: string;

  constructor(pod: Pod, id: string, logPath: string) {
    this.pod = pod;
    this.id = id;
    this.#logPath = logPath;
  }

  get #runtime() {
    return this.pod.containerd.cri.runtime;
  }

  start(): Promise<unknown> {
    return this.#runtime.startContainer({ containerId: this.id });
  }

  async status(): Promise<ContainerStatus> {
    const { status } = await this.#runtime.containerStatus({ containerId: this.id });
    if (status === undefined) throw new Error(`container ${this.id} has no status`);
    return status;
  }

  /** Waits for its end; returns the exit code. */
  async exit(): Promise<number> {
    const over = async (): Promise<boolean> => (await this.status()).state === ContainerState.CONTAINER_EXITED;
    await eventually(over, EXIT_TIMEOUT_MS, `the end of ${this.id}`);
    return (await this.status()).exitCode;
  }

  /** Runs a program in it to its end. */
  async exec(...cmd: readonly string[]): Promise<Result> {
    const answer = await this.#runtime.execSync({ containerId: this.id, cmd, timeout: EXEC_TIMEOUT_S });
    return {
      status: answer.exitCode,
      stdout: Buffer.from(answer.stdout).toString(),
      stderr: Buffer.from(answer.stderr).toString(),
    };
  }

  /** Runs a program in it with a terminal of 80 columns and 24 rows, on which `input` is typed. */
  async type(input: string, ...cmd: readonly string[]): Promise<Result> {
    const streams = { tty: true, stdin: true, stdout: true };
    const { url } = await this.#runtime.exec({ containerId: this.id, cmd, ...streams });
    return await this.pod.containerd.call([process.execPath, STREAM, 'exec', url, '80x24'], { input });
  }

  /** Attaches to its first process, gives `input`, and waits for its end. */
  async attach(input: string): Promise<Result> {
    const { url } = await this.#runtime.attach({ containerId: this.id, stdin: true, stdout: true, stderr: true });
    return await this.pod.containerd.call([process.execPath, STREAM, 'exec', url], { input });
  }

  /** Standard output of a shell script in it; both streams in order when it fails. */
  async output(script: string): Promise<string> {
    const { status, stdout, stderr } = await this.exec('sh', '-c', script);
    return status === 0 ? stdout : `${stdout}${stderr}status ${status}\n`;
  }

  /** `timeoutS`: seconds between SIGTERM and SIGKILL. */
  stop(timeoutS = 0): Promise<unknown> {
    return this.#runtime.stopContainer({ containerId: this.id, timeout: timeoutS });
  }

  remove(): Promise<unknown> {
    return this.#runtime.removeContainer({ containerId: this.id });
  }

  /** What its init wrote to one stream, from its log file: lines of "time stream tag text", tag P for a part. */
  log(stream: 'stdout' | 'stderr'): string {
    return readFileSync(this.#logPath, 'utf8')
      .split('\n')
      .map((line) => /^\S+ (\S+) (\S+) (.*)$/.exec(line))
      .filter((match) => match?.[1] === stream)
      .map((match) => `${match?.[3]}${match?.[2] === 'P' ? '' : '\n'}`)
      .join('');
  }
}
