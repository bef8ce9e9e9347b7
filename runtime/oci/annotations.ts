/** The annotations with which a configuration speaks to tskata itself, by their full names. */

/** File that receives the output of a container's init as JSON lines. */
export const LOG_PATH = 'io.tskata.log.path';
/** Bytes after which that file is rotated. */
export const LOG_MAX_SIZE = 'io.tskata.log.max-size';
/** "none" or "user". */
export const NETWORK = 'io.tskata.network';
/** JSON list of {hostIp, hostPort, containerPort}. */
export const PUBLISH = 'io.tskata.publish';
/** JSON list of name server addresses. */
export const DNS = 'io.tskata.dns';
/** Nobody will call Delete, the shim ends the sandbox after the container: "keep" its record and log, or "remove" them. */
export const DETACHED = 'io.tskata.detached';
/** The same for a container whose caller waits: what is done with it when that caller went away without Delete. */
export const ABANDONED = 'io.tskata.abandoned';
/** Guest memory in MiB. */
export const SANDBOX_MEMORY = 'io.tskata.sandbox.memory';
/** Number of virtual CPUs. */
export const SANDBOX_VCPUS = 'io.tskata.sandbox.vcpus';

/** Id of the image whose layers the container uses; keeps them from being removed. */
export const IMAGE = 'io.tskata.image';
/** A person's name for the container. */
export const NAME = 'io.tskata.name';
/** What `stop` sends, and how many seconds it waits before it kills. */
export const STOP_SIGNAL = 'io.tskata.stop-signal';
export const STOP_TIMEOUT = 'io.tskata.stop-timeout';

/** What the administrator can let a pod set: sizes within bounds, never a program, a path or a network. */
export const TENANT_ANNOTATIONS: readonly string[] = [SANDBOX_MEMORY, SANDBOX_VCPUS];

/** What a person writes with --annotation must stay out of this name space. */
export const RESERVED_PREFIX = 'io.tskata.';
