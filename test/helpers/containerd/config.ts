/**
 * The configuration of a test's containerd: everything in the test's directory, the CNI plugins and runc where they
 * were unpacked, and for the runtime entry `tskata` the very text that users are told to add (deploy/).
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerdPrograms } from './programs.ts';

const DEPLOY = join(import.meta.dirname, '../../../deploy/containerd');

/** The image of sandbox containers; `containerd.ts` imports it. */
export const PAUSE_IMAGE = 'tskata.test/pause:1';

/** The network of pods, as a CNI configuration list. */
export type CniConfig = Readonly<Record<string, unknown>>;

/** What differs from test to test. */
export interface ConfigOptions {
  readonly programs: ContainerdPrograms;
  readonly directory: string;
  readonly cni?: CniConfig;
  /** Of pods; 'overlayfs' unless said otherwise. */
  readonly snapshotter?: 'overlayfs' | 'native';
  /** More lines for config.toml. */
  readonly extra?: string;
}

/** Paths of a containerd in its directory. */
export function pathsIn(directory: string): Record<'config' | 'socket' | 'root' | 'state' | 'cni' | 'leases', string> {
  return {
    config: join(directory, 'config.toml'),
    socket: join(directory, 'c.sock'),
    root: join(directory, 'root'),
    state: join(directory, 'state'),
    cni: join(directory, 'cni'),
    leases: join(directory, 'leases'),
  };
}

/** Writes config.toml and the network's configuration. */
export function writeConfig(options: ConfigOptions): void {
  const paths = pathsIn(options.directory);
  mkdirSync(paths.cni, { recursive: true });
  const network = options.cni ?? bridgeNetwork(paths.leases);
  writeFileSync(join(paths.cni, '10-test.conflist'), JSON.stringify(network, undefined, 2));
  writeFileSync(paths.config, configText(options));
}

/** A bridge with addresses of both families, and published ports. */
function bridgeNetwork(leases: string): CniConfig {
  return {
    cniVersion: '0.4.0',
    name: 'test',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni0',
        isGateway: true,
        ipMasq: false,
        hairpinMode: true,
        ipam: {
          type: 'host-local',
          dataDir: leases,
          ranges: [[{ subnet: '10.88.0.0/16' }], [{ subnet: 'fd88::/64' }]],
          routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  };
}

function configText({ programs, directory, extra = '', snapshotter = 'overlayfs' }: ConfigOptions): string {
  const paths = pathsIn(directory);
  const head = [
    `root = "${paths.root}"`,
    `state = "${paths.state}"`,
    '[grpc]',
    `  address = "${paths.socket}"`,
    '[plugins."io.containerd.internal.v1.opt"]',
    `  path = "${directory}/opt"`,
  ];
  const pods =
    programs.release === '2.1'
      ? criOfTwo(programs, paths.cni, snapshotter)
      : criOfOne(programs, paths.cni, snapshotter);
  const snippet = readFileSync(join(DEPLOY, programs.release === '2.1' ? '2.toml' : '1.toml'), 'utf8');
  // The snippet begins with the version, which has to come first in the file.
  return [
    snippet.match(/^version = .*$/m)?.[0] ?? '',
    ...head,
    ...pods,
    snippet.replace(/^version = .*$/m, ''),
    extra,
  ].join('\n');
}

/** A machine that withholds CAP_SYS_RESOURCE from its root lets nobody lower a score. */
const RESTRICTED = ['  restrict_oom_score_adj = true'];

function criOfOne(programs: ContainerdPrograms, cni: string, snapshotter: string): string[] {
  const section = 'plugins."io.containerd.grpc.v1.cri"';
  return [
    `[${section}]`,
    `  sandbox_image = "${PAUSE_IMAGE}"`,
    '  disable_apparmor = true',
    ...RESTRICTED,
    `[${section}.containerd]`,
    '  default_runtime_name = "runc"',
    `  snapshotter = "${snapshotter}"`,
    ...runcEntry(`${section}.containerd.runtimes.runc`, programs),
    `[${section}.cni]`,
    `  bin_dir = "${programs.cni}"`,
    `  conf_dir = "${cni}"`,
  ];
}

function criOfTwo(programs: ContainerdPrograms, cni: string, snapshotter: string): string[] {
  const section = "plugins.'io.containerd.cri.v1.runtime'";
  return [
    "[plugins.'io.containerd.cri.v1.images']",
    `  snapshotter = "${snapshotter}"`,
    "[plugins.'io.containerd.cri.v1.images'.pinned_images]",
    `  sandbox = "${PAUSE_IMAGE}"`,
    `[${section}]`,
    '  disable_apparmor = true',
    ...RESTRICTED,
    `[${section}.containerd]`,
    '  default_runtime_name = "runc"',
    ...runcEntry(`${section}.containerd.runtimes.runc`, programs),
    `[${section}.cni]`,
    `  bin_dirs = ["${programs.cni}"]`,
    `  conf_dir = "${cni}"`,
  ];
}

function runcEntry(section: string, programs: ContainerdPrograms): string[] {
  return [
    `[${section}]`,
    '  runtime_type = "io.containerd.runc.v2"',
    // As the other entry has it: a privileged container does not get the devices of the machine that runs the tests.
    '  privileged_without_host_devices = true',
    `[${section}.options]`,
    `  BinaryName = "${programs.runc}/runc"`,
  ];
}
