/**
 * The two ports of the agent where it is reached over vsock instead of virtio-serial: what both sides must agree on. Each
 * connection is a port in the sense of PROTOCOL.md, and carries the same records.
 */

/** Ports of the guest that the agent listens on. */
export const CONTROL_VSOCK_PORT = 1024;
export const BYTES_VSOCK_PORT = 1025;

/** Address of the host, for every guest. */
export const HOST_CID = 2;

/**
 * Ports up to this one are for root: the agent takes connections from no other ones, so that no other user of the host
 * reaches it.
 */
export const LAST_PRIVILEGED_PORT = 1023;

/**
 * What the agent says first on a connection, so that the host knows that it was accepted. It is before any reset, and
 * so it is no part of a record.
 */
export const GREETING = 0;
