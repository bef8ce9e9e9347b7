/** The flags of `run` that describe the container, and how they become a request. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import { LOG_MAX_SIZE, RESERVED_PREFIX, SANDBOX_MEMORY, SANDBOX_VCPUS } from '../../oci/annotations.ts';
import type {
  ContainerRequest,
  ImageDefaults,
  NetworkRequest,
  TmpfsRequest,
  VolumeRequest,
} from '../../oci/request.ts';
import { parseEnvironment, readEnvironmentFile } from './environment.ts';
import { parseCpus, parsePairs, parsePids, parseUlimit } from './limits.ts';
import { parsePublish } from './publish.ts';
import { parseSecurityOptions } from './security.ts';
import { parseSize } from './size.ts';
import { parseMount, parseTmpfs, parseVolume } from './volume.ts';

/** Values as commander gives them. */
export interface ContainerFlags {
  readonly name?: string;
  readonly env: string[];
  readonly envFile: string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly hostname?: string;
  readonly entrypoint?: string;
  readonly volume: string[];
  readonly mount: string[];
  readonly tmpfs: string[];
  readonly readOnly?: boolean;
  readonly capAdd: string[];
  readonly capDrop: string[];
  readonly privileged?: boolean;
  readonly securityOpt: string[];
  readonly cpus?: string;
  readonly memory?: string;
  readonly pidsLimit?: string;
  readonly ulimit: string[];
  readonly sysctl: string[];
  readonly shmSize: string;
  readonly network: 'none' | 'user';
  readonly publish: string[];
  readonly dns: string[];
  readonly annotation: string[];
  readonly logOpt: string[];
}

/** Annotations of ours that have no flag of their own. */
const FREE: ReadonlySet<string> = new Set([SANDBOX_MEMORY, SANDBOX_VCPUS, LOG_MAX_SIZE]);
const MIN_MEMORY_BYTES = 6 * 1024 * 1024;
const LABEL = /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*$/;

function collect(value: string, previous: string[]): string[] {
  return [...previous, value];
}

function list(flags: string, description: string): Option {
  return new Option(flags, description).argParser(collect).default([], '');
}

/** Adds the flags to a command. */
export function addContainerFlags(command: Command): Command {
  return command
    .option('--name <name>', 'a name for the container')
    .addOption(list('-e, --env <NAME=value>', 'environment; a name alone takes its value from here'))
    .addOption(list('--env-file <file>', 'environment from a file'))
    .option('-w, --workdir <dir>', 'directory that the program starts in')
    .option('-u, --user <user[:group]>', 'names or numbers, looked up in the container')
    .option('--hostname <name>', 'host name in the container')
    .option('--entrypoint <program>', "instead of the image's; empty: none")
    .addOption(list('-v, --volume <src:dst[:ro]>', 'show a host directory or file in the container'))
    .addOption(list('--mount <type=bind|tmpfs,...>', 'the same, spelled out'))
    .addOption(list('--tmpfs <dst[:options]>', 'an empty file system in memory'))
    .option('--read-only', 'the root file system cannot be written')
    .addOption(list('--cap-add <name>', 'add a capability, or ALL'))
    .addOption(list('--cap-drop <name>', 'drop a capability, or ALL'))
    .option('--privileged', 'every capability and device of the guest (the machine stays the boundary)')
    .addOption(list('--security-opt <option>', 'seccomp=unconfined, seccomp=FILE, no-new-privileges'))
    .option('--cpus <number>', 'limit of CPU time, fractions allowed')
    .option('-m, --memory <size>', 'limit of memory')
    .option('--pids-limit <number>', 'limit of processes, -1 for none')
    .addOption(list('--ulimit <name=soft[:hard]>', 'limit of a process'))
    .addOption(list('--sysctl <name=value>', 'kernel parameter of the guest'))
    .option('--shm-size <size>', 'size of /dev/shm', '64m')
    .addOption(
      new Option(
        '--network <mode>',
        'user: outward connections (the default, unless configured otherwise); none: loopback only',
      ).choices(['none', 'user']),
    )
    .addOption(list('-p, --publish <[ip:]host:container>', 'lead a TCP port of the host into the container'))
    .addOption(list('--dns <address>', "name server, instead of the host's"))
    .addOption(list('--annotation <name=value>', 'annotation of the OCI configuration'))
    .addOption(list('--log-opt <max-size=size>', 'size at which the log is rotated (10m); one older file is kept'));
}

/** How `run` was called, beside the flags. */
export interface RunSubject {
  readonly id: string;
  readonly image: ImageDefaults;
  readonly command: readonly string[];
  readonly terminal?: { readonly rows: number; readonly columns: number };
}

/**
 * Flags to request.
 * @throws TskataError InvalidArgument naming the flag.
 */
export function containerRequest(
  flags: ContainerFlags,
  subject: RunSubject,
  environment: NodeJS.ProcessEnv,
): ContainerRequest {
  const { volumes, tmpfs } = mountsOf(flags);
  const security = parseSecurityOptions('--security-opt', flags.securityOpt);
  return {
    id: subject.id,
    name: flags.name ?? '',
    image: subject.image,
    command: subject.command,
    env: [
      ...flags.envFile.flatMap((file) => readEnvironmentFile('--env-file', file, environment)),
      ...parseEnvironment('--env', flags.env, environment),
    ],
    ...(subject.terminal ? { terminal: subject.terminal } : {}),
    ...(flags.entrypoint === undefined ? {} : { entrypoint: flags.entrypoint === '' ? [] : [flags.entrypoint] }),
    ...(flags.workdir === undefined ? {} : { workingDir: absolute('--workdir', flags.workdir) }),
    ...(flags.user === undefined ? {} : { user: flags.user }),
    ...(flags.hostname === undefined ? {} : { hostname: hostname(flags.hostname) }),
    volumes,
    tmpfs,
    readOnlyRoot: flags.readOnly === true,
    capAdd: flags.capAdd,
    capDrop: flags.capDrop,
    privileged: flags.privileged === true,
    noNewPrivileges: security.noNewPrivileges,
    seccomp: security.seccomp,
    ...limitsOf(flags),
    ulimits: flags.ulimit.map((text) => parseUlimit('--ulimit', text)),
    sysctls: parsePairs('--sysctl', flags.sysctl),
    shmSizeBytes: parseSize('--shm-size', flags.shmSize),
    ...networkRequest(flags),
    annotations: annotationsOf(flags),
  };
}

function mountsOf(flags: ContainerFlags): { volumes: VolumeRequest[]; tmpfs: TmpfsRequest[] } {
  const volumes = flags.volume.map((text) => parseVolume('--volume', text));
  const tmpfs = flags.tmpfs.map((text) => parseTmpfs('--tmpfs', text));
  for (const text of flags.mount) {
    const parsed = parseMount('--mount', text);
    if ('volume' in parsed) volumes.push(parsed.volume);
    else tmpfs.push(parsed.tmpfs);
  }
  const seen = new Set<string>();
  for (const { destination } of [...volumes, ...tmpfs]) {
    if (seen.has(destination)) throw new TskataError(Code.InvalidArgument, `mount on ${destination}: asked for twice`);
    seen.add(destination);
  }
  return { volumes, tmpfs };
}

function limitsOf(flags: ContainerFlags): Pick<ContainerRequest, 'cpus' | 'memoryBytes' | 'pidsLimit'> {
  const memoryBytes = flags.memory === undefined ? undefined : parseSize('--memory', flags.memory);
  if (memoryBytes !== undefined && memoryBytes < MIN_MEMORY_BYTES) {
    throw new TskataError(Code.InvalidArgument, `--memory ${flags.memory}: the least is 6m`);
  }
  return {
    ...(flags.cpus === undefined ? {} : { cpus: parseCpus('--cpus', flags.cpus) }),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(flags.pidsLimit === undefined ? {} : { pidsLimit: parsePids('--pids-limit', flags.pidsLimit) }),
  };
}

/** What the flags say about the network. */
export function networkRequest(flags: Pick<ContainerFlags, 'network' | 'publish' | 'dns'>): NetworkRequest {
  return { network: flags.network, publish: publishOf(flags), dns: flags.dns };
}

function publishOf(flags: Pick<ContainerFlags, 'publish'>): NetworkRequest['publish'] {
  const publish = flags.publish.flatMap((text) => parsePublish('--publish', text));
  const seen = new Set<string>();
  for (const { hostIp, hostPort } of publish) {
    const key = `${hostIp}:${hostPort}`;
    if (seen.has(key)) throw new TskataError(Code.InvalidArgument, `--publish ${key}: asked for twice`);
    seen.add(key);
  }
  return publish;
}

function annotationsOf(flags: ContainerFlags): Record<string, string> {
  const annotations = parsePairs('--annotation', flags.annotation);
  refuseReserved('--annotation', Object.keys(annotations));
  for (const [name, value] of Object.entries(parsePairs('--log-opt', flags.logOpt))) {
    if (name !== 'max-size')
      throw new TskataError(Code.InvalidArgument, `--log-opt ${name}: only max-size is supported`);
    annotations[LOG_MAX_SIZE] = String(parseSize('--log-opt max-size', value));
  }
  return annotations;
}

/** What is written by hand, or comes in somebody's bundle, must not look as if a flag had said it. */
export function refuseReserved(subject: string, names: readonly string[]): void {
  const reserved = names.find((name) => name.startsWith(RESERVED_PREFIX) && !FREE.has(name));
  if (reserved === undefined) return;
  const fact = `names under ${RESERVED_PREFIX} are set by flags`;
  throw new TskataError(Code.InvalidArgument, `${subject} ${reserved}: ${fact}`);
}

function absolute(flag: string, path: string): string {
  if (!path.startsWith('/')) throw new TskataError(Code.InvalidArgument, `${flag} ${path}: must be an absolute path`);
  return path;
}

function hostname(name: string): string {
  if (!LABEL.test(name)) throw new TskataError(Code.InvalidArgument, `--hostname ${name}: not a host name`);
  return name;
}

/** Commander's parser of a count of seconds. */
export function parseSeconds(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('must be a whole number of seconds');
  return Number(text);
}
