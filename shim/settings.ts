/**
 * Owns what a shim takes from the configuration. A broken one must not end the shim before anybody could be told: then
 * every Create is refused with the reason, and the rest goes by the defaults.
 */
import { availableParallelism, totalmem } from 'node:os';
import { TskataError } from '../agent/protocol/errors.ts';
import { DEFAULT_CONFIG_PATH, loadConfig } from '../runtime/config/load.ts';
import { parseConfig } from '../runtime/config/parse.ts';
import type { Config } from '../runtime/config/schema.ts';
import { groupPolicy, sizePolicy } from '../runtime/config/sizes.ts';
import type { AnnotationPolicy } from '../runtime/sandbox/config.ts';
import type { GroupPolicy } from '../runtime/sandbox/host-group.ts';
import type { SizePolicy } from '../runtime/sandbox/machine-size.ts';
import type { Assign } from './assign.ts';

/** What was read, for everything that the shim makes. */
export interface Settings {
  readonly config: Config;
  readonly annotations: AnnotationPolicy;
  readonly sizes: SizePolicy;
  readonly group: GroupPolicy;
  /** Why nothing can be created. */
  readonly refusal?: TskataError;
}

/** Never rejects. */
export async function readSettings(assign: Assign): Promise<Settings> {
  try {
    const { config, path } = await loadConfig(assign.configPath);
    return settings(assign, config, path);
  } catch (error) {
    return { ...settings(assign, parseConfig([]), DEFAULT_CONFIG_PATH), refusal: TskataError.from(error) };
  }
}

function settings(assign: Assign, config: Config, source: string): Settings {
  return {
    config,
    annotations: {
      caller: assign.caller,
      enabled: config.enable_annotations,
      source,
      defaultLogBytes: config.log.max_size_bytes,
    },
    group: groupPolicy(config),
    sizes: sizePolicy(config, { memoryBytes: totalmem(), cpus: availableParallelism() }),
  };
}
