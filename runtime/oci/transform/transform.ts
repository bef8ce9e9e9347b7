/** What a transform is: one step of making a configuration. */
import type { ContainerRequest } from '../request.ts';
import type { Spec } from '../spec.ts';

/** A configuration while it is being made: every section that a transform fills is there. */
export type Draft = Spec & { [K in 'root' | 'mounts' | 'process' | 'linux' | 'annotations']: NonNullable<Spec[K]> };

/** One step. Later steps may rely on what earlier ones wrote. */
export type Transform = (draft: Draft, request: ContainerRequest) => void;
