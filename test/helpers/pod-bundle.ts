/** The bundle of a container as a test wants it, with what CRI puts into every one. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const CAPABILITIES = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_MKNOD',
  'CAP_SETGID',
  'CAP_SETUID',
];

/** A mount of config.json. */
export interface TestMount {
  readonly destination: string;
  readonly type?: string;
  readonly source?: string;
  readonly options?: readonly string[];
  readonly uidMappings?: readonly object[];
  readonly gidMappings?: readonly object[];
}

/** A container to make. */
export interface TestContainer {
  /** A shell line; without one the container waits. */
  readonly line?: string;
  /** Mounts of Create; none: the bundle's own root is a copy of the test's busybox. */
  readonly rootfs?: readonly { readonly type: string; readonly source: string; readonly options: readonly string[] }[];
  readonly mounts?: readonly TestMount[];
  readonly readonlyRoot?: boolean;
  /** Beside the usual ones. */
  readonly capabilities?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly cgroupsPath?: string;
  /** linux.resources of config.json. */
  readonly resources?: object;
  /** hooks of config.json. */
  readonly hooks?: object;
  /** Of a user namespace of its own, for users and groups. */
  readonly idMappings?: readonly object[];
}

/** The process section for a shell line; without one it waits. */
export function testProcess(line: string | undefined, more: readonly string[] = []): object {
  const capabilities = [...CAPABILITIES, ...more];
  return {
    args: line === undefined ? ['/bin/sleep', '100000'] : ['/bin/sh', '-c', `{ ${line}\n} 2>&1`],
    cwd: '/',
    env: ['PATH=/bin'],
    user: { uid: 0, gid: 0 },
    capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
  };
}

/** Writes a container's bundle to a directory and returns its path; its own root is `root`. */
export function writeBundle(bundle: string, root: string, container: TestContainer): string {
  mkdirSync(join(bundle, 'rootfs'), { recursive: true });
  const own = container.rootfs === undefined ? root : 'rootfs';
  const config = {
    ociVersion: '1.1.0',
    process: testProcess(container.line, container.capabilities),
    root: { path: own, readonly: container.readonlyRoot ?? false },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=65536k'] },
      ...(container.mounts ?? []),
    ],
    annotations: container.annotations ?? {},
    hooks: container.hooks ?? {},
    linux: {
      namespaces: [
        ...['pid', 'mount', 'ipc', 'network'].map((type) => ({ type })),
        ...(container.idMappings === undefined ? [] : [{ type: 'user' }]),
      ],
      resources: container.resources ?? {},
      uidMappings: container.idMappings ?? [],
      gidMappings: container.idMappings ?? [],
      ...(container.cgroupsPath === undefined ? {} : { cgroupsPath: container.cgroupsPath }),
    },
  };
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
  return bundle;
}
