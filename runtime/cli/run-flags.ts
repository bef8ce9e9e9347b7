/** The flags of `run`, as commander gives them. */
import type { ContainerFlags } from './flags/container.ts';

/** Flags that choose the source. */
interface SourceFlags {
  readonly pull: 'missing' | 'always' | 'never';
  readonly storage: string;
  readonly rootfs?: string;
  readonly bundle?: string;
}

/** Every flag of `run`. */
export interface RunFlags extends ContainerFlags, SourceFlags {
  readonly rm?: boolean;
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly detach?: boolean;
  readonly cidfile?: string;
  readonly stopSignal?: string;
  readonly stopTimeout: number;
}

/** The same before the configuration was asked for what no flag says. */
export type GivenRunFlags = Omit<RunFlags, 'network'> & Partial<Pick<RunFlags, 'network'>>;
