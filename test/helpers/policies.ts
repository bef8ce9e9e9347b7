/** What the configuration file would say, for tests that have none. */
import { parseConfig } from '../../runtime/config/parse.ts';
import { groupPolicy, sizePolicy } from '../../runtime/config/sizes.ts';
import type { AnnotationPolicy, Caller } from '../../runtime/sandbox/config.ts';
import type { GroupPolicy } from '../../runtime/sandbox/host-group.ts';
import type { SizePolicy } from '../../runtime/sandbox/machine-size.ts';

/** The policies of a host of 64 GiB and 8 CPUs without a configuration file. */
export function testPolicies(
  caller: Caller,
  enabled: readonly string[] = [],
): {
  readonly annotations: AnnotationPolicy;
  readonly sizes: SizePolicy;
  readonly group: GroupPolicy;
  readonly namespace: string;
} {
  const config = parseConfig([]);
  return {
    annotations: { caller, enabled, source: '/etc/tskata/config.toml', defaultLogBytes: config.log.max_size_bytes },
    group: groupPolicy(config),
    namespace: 'test',
    sizes: sizePolicy(config, { memoryBytes: 2 ** 36, cpus: 8 }),
  };
}
