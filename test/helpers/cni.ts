/** Runs CNI plugins as a container engine does: a chain of them, each with the result of the one before. */
import { execFile } from 'node:child_process';
import { findContainerd } from './containerd/programs.ts';
import type { NetworkNamespace } from './network-namespaces.ts';

const PLUGIN_TIMEOUT_MS = 60_000;

/** What a chain of plugins has made. */
export interface CniResult {
  readonly interfaces: readonly { readonly name: string; readonly mac: string; readonly sandbox?: string }[];
  readonly ips: readonly { readonly address: string; readonly gateway?: string }[];
}

/** One network: its name and its plugins' configurations, in order. */
export interface CniConfig {
  readonly name: string;
  readonly plugins: readonly Readonly<Record<string, unknown>>[];
}

/** A pod's end of a network. */
export interface CniAttachment {
  readonly pod: Pick<NetworkNamespace, 'name' | 'path'>;
  readonly interface: string;
  /** hostPort and the like. */
  readonly runtimeConfig?: Readonly<Record<string, unknown>>;
}

/** The plugins, run in a namespace that plays the host. */
export class Cni {
  readonly #directory: string;
  readonly #host: NetworkNamespace;

  private constructor(directory: string, host: NetworkNamespace) {
    this.#directory = directory;
    this.#host = host;
  }

  static async open(host: NetworkNamespace): Promise<Cni> {
    return new Cni((await findContainerd('1.6')).cni, host);
  }

  async add(config: CniConfig, attachment: CniAttachment): Promise<CniResult> {
    let result: unknown;
    for (const plugin of config.plugins) result = await this.#call('ADD', config, plugin, attachment, result);
    return result as CniResult;
  }

  /** Undoes `add`; `result` is what that returned. */
  async delete(config: CniConfig, attachment: CniAttachment, result: CniResult): Promise<void> {
    for (const plugin of config.plugins.toReversed()) await this.#call('DEL', config, plugin, attachment, result);
  }

  async #call(
    command: 'ADD' | 'DEL',
    { name }: CniConfig,
    plugin: Readonly<Record<string, unknown>>,
    { pod, interface: ifName, runtimeConfig }: CniAttachment,
    prevResult: unknown,
  ): Promise<unknown> {
    const input = {
      cniVersion: '0.4.0',
      name,
      ...plugin,
      ...(runtimeConfig === undefined ? {} : { runtimeConfig }),
      ...(prevResult === undefined ? {} : { prevResult }),
    };
    const variables = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: pod.name,
      CNI_NETNS: pod.path,
      CNI_IFNAME: ifName,
      CNI_PATH: this.#directory,
    };
    const output = await this.#run(`${this.#directory}/${String(plugin.type)}`, variables, JSON.stringify(input));
    return output === '' ? undefined : JSON.parse(output);
  }

  #run(plugin: string, variables: Readonly<Record<string, string>>, input: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const child = execFile(
        'ip',
        ['netns', 'exec', this.#host.name, plugin],
        { env: { ...process.env, ...variables }, timeout: PLUGIN_TIMEOUT_MS },
        (error, stdout, stderr) => {
          if (error === null) resolve(stdout);
          else reject(new Error(`${plugin} ${variables.CNI_COMMAND}: ${stdout} ${stderr}`));
        },
      );
      child.stdin?.end(input);
    });
  }
}
