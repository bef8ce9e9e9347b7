/** Owns where the agent keeps what it makes, in the guest. Every name below comes from a checked id. */

const RUN = '/run/tskata';
/** Mount points of storages. */
export const STORAGE = `${RUN}/storage`;
/** Mount points of whole virtio-fs shares, by tag. */
export const SHARES = `${RUN}/shares`;
/** One directory per container: "root" (mount point), "files/". */
export const CONTAINERS = `${RUN}/containers`;
/** Device nodes for containers that may not make their own. */
export const NODES = `${RUN}/nodes`;
export const CGROUP = '/sys/fs/cgroup';
/** Parent of all containers' cgroups. */
export const CONTAINERS_CGROUP = `${CGROUP}/tskata`;
