/** Owns what the options of a runtime in containerd's and CRI-O's configuration may say: the path of a configuration file. */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import type { Any } from './generated/google.ts';
import { Options } from './generated/runtime-options.ts';

/**
 * The path among these messages; empty for none. Options of other types are another runtime's, left over in a
 * configuration: they say nothing to us. Throws InvalidArgument for what would be ignored.
 */
export function configPathOf(operation: string, messages: readonly Pick<Any, 'typeUrl' | 'value'>[]): string {
  const options = messages.find(({ typeUrl }) => typeUrl.replace(/^.*\//, '') === Options.typeName);
  if (options === undefined) return '';
  const { configPath, configBody } = Options.decode(options.value);
  if (configBody.length > 0) {
    throw new TskataError(
      Code.InvalidArgument,
      `${operation}: the runtime's options: only ConfigPath is known - put the others into the file that it names`,
    );
  }
  if (configPath !== '' && !configPath.startsWith('/')) {
    throw new TskataError(
      Code.InvalidArgument,
      `${operation}: ConfigPath: ${JSON.stringify(configPath)} is not an absolute path`,
    );
  }
  return configPath;
}
