/**
 * Owns what CRI-O looks for in a bundle, since it follows no events: a file `oom`, by which it tells that a container was
 * killed for memory.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SandboxEvent } from '../runtime/sandbox/events.ts';

/** In the configuration of each of its containers. */
const ITS_ANNOTATION = 'io.kubernetes.cri-o.ContainerType';

export function tellCrio({ type, container }: SandboxEvent): void {
  if (type !== 'oom' || !Object.hasOwn(container.spec.annotations ?? {}, ITS_ANNOTATION)) return;
  writeFileSync(join(container.bundle, 'oom'), '', { mode: 0o600 });
}
