/**
 * Every bound and deadline of the contract, each with its reason. Both sides are built from this file, so a limit is
 * never negotiated. Sizes are bytes, times milliseconds.
 */

/** Version of the contract: major * 1000 + minor. Another major is refused; minors only add. */
export const PROTOCOL_VERSION = 1000;

/** ttrpc's own header, before every message. */
export const TTRPC_HEADER_BYTES = 10;

/** The largest ttrpc message that containerd sends or takes (4 MiB, ttrpc's own bound). */
export const MAX_TTRPC_MESSAGE_BYTES = 4 * 1024 * 1024;

/** The largest message between host and guest: a container spec with 1,000 mounts is below 300 kB. */
export const MAX_AGENT_MESSAGE_BYTES = 1024 * 1024;

/** Arguments, and variables of the environment, that a process may have. */
export const MAX_PROCESS_STRINGS = 8192;

/** Bytes of one of them: with its NUL the most that execve takes (32 pages, MAX_ARG_STRLEN). */
export const MAX_PROCESS_STRING_BYTES = 128 * 1024 - 1;

/** Bytes of all of them, each with a NUL: with the rest of the largest spec they fit one message. */
export const MAX_PROCESS_BYTES = 640 * 1024;

/** Processes that a sandbox may have at a time, inits and execs, as the host counts them; what they fork is not counted. */
export const MAX_PROCESSES = 1024;

/** Calls that one connection may have under way: a Wait for each process and as many others. */
export const MAX_CALLS_IN_FLIGHT = 2 * MAX_PROCESSES;

/** Calls whose answer nobody waits for any more. A peer that leaves so many unanswered is not one to keep. */
export const MAX_ABANDONED_CALLS = 4096;

/** Bytes of requests that wait for a peer that does not read; then further calls are refused. */
export const MAX_QUEUED_BYTES = 4 * 1024 * 1024;

/** Characters of an error that a peer sent: enough for a sentence with a path, nothing to fill a log with. */
export const MAX_ERROR_CHARACTERS = 2048;

/** Longest time that a timer can have (Node's bound, 24 days); longer deadlines are none. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** Frames that belong to nothing and are ignored before the connection is given up. */
export const MAX_STRAY_FRAMES = 1024;

/** Nesting of messages; the deepest legal one (an agent request) has 5 levels. */
export const MAX_MESSAGE_DEPTH = 32;

/**
 * Elements (of repeated fields, maps and sub-messages) in one decoded message: an empty element takes 2 bytes on the
 * wire and a hundred in memory, so the size of a frame alone does not bound what it costs.
 */
export const MAX_MESSAGE_ELEMENTS = 65_536;

/** Entries and bytes of the metadata of one call. */
export const MAX_METADATA_ENTRIES = 64;

/**
 * Body of one frame on the bytes port: what a program writes in 64 KiB and what has gathered behind it goes in one, and
 * the per-frame work vanishes. Small enough to be fair; with its 13 bytes of record and header exactly four of the 32 KiB
 * that Linux lets a virtio-serial port send at once.
 */
export const MAX_STREAM_BODY_BYTES = 128 * 1024 - 13;

/** Bytes that may be under way on one stream in one direction: two frames, so that the pipe stays full. */
export const STREAM_WINDOW_BYTES = 256 * 1024;

/** Consumed bytes are granted again in portions of at least this size, so that credits are rare. */
export const STREAM_GRANT_BYTES = STREAM_WINDOW_BYTES / 4;

/** Streams that one connection may have: three for each process, and as many as processes for Dial. */
export const MAX_STREAMS = 4 * MAX_PROCESSES;

/** Stale frames that a guest may still send on a stream that the host has closed; then the connection is given up. */
export const STALE_FRAMES_PER_STREAM = 1024;

/** Bytes of an older connection that the host throws away while it looks for its acknowledgement. */
export const MAX_STALE_BYTES = 64 * 1024 * 1024;

/** Deadline of a reset of both ports by an agent that is already running; includes a garbage collection on a slow host. */
export const RESET_TIMEOUT_MS = 10_000;

/** Deadline of a call for which the caller named none. Calls that wait for a process name their own. */
export const CALL_TIMEOUT_MS = 30_000;

/** How long a long poll for events stays open in the guest before it answers empty. */
export const EVENTS_POLL_MS = 30_000;
