/** Makes an OCI configuration out of a request: an empty one, handed through an ordered list of transforms. */

import type { ContainerRequest } from './request.ts';
import type { Spec } from './spec.ts';
import { annotate } from './transform/annotate.ts';
import { confine } from './transform/confine.ts';
import { limit } from './transform/limit.ts';
import { mountDefaults, mountVolumes } from './transform/mount.ts';
import { process } from './transform/process.ts';
import type { Draft, Transform } from './transform/transform.ts';

const TRANSFORMS: readonly Transform[] = [process, mountDefaults, mountVolumes, confine, limit, annotate];

/** OCI runtime specification that the result follows. */
const OCI_VERSION = '1.1.0';

/**
 * The configuration for a request.
 * @throws TskataError invalid_argument for what only shows in combination (no program to run, an unknown capability).
 */
export function composeSpec(request: ContainerRequest): Spec {
  const draft: Draft = {
    ociVersion: OCI_VERSION,
    root: { path: 'rootfs', readonly: request.readOnlyRoot },
    mounts: [],
    process: { user: { uid: 0, gid: 0 }, cwd: '/' },
    linux: {},
    annotations: {},
  };
  for (const transform of TRANSFORMS) transform(draft, request);
  return draft;
}
