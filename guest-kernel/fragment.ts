/**
 * Owns: the format of the config fragments, and the proof that what they ask for is in the final configuration.
 * Refuses to know: where fragments lie, how a kernel is built.
 */

/** One line of a fragment: a value asked for, and why. */
export type KernelOption = {
  /** Symbol with its `CONFIG_` prefix. */
  readonly name: string;
  /** Value as kconfig writes it: `y`, `n`, a number, or a string with its quotes. */
  readonly value: string;
  /** Why the option is there; never empty. */
  readonly reason: string;
  /** File name of the fragment, for messages. */
  readonly fragment: string;
  /** Line in the fragment, from 1. */
  readonly line: number;
};

/** An option that kconfig changed: a dependency is missing, the symbol does not exist, or another option selects it. */
export type LostOption = { readonly option: KernelOption; readonly actual: string };

const OPTION_LINE = /^(?<name>CONFIG_[A-Za-z0-9_]+)=(?<value>"[^"\\]*"|-?[A-Za-z0-9]+) # (?<reason>\S.*)$/;
const CONFIG_SET_LINE = /^(CONFIG_[A-Za-z0-9_]+)=(.*)$/;
const VALUE = /^(?:y|n|-?[0-9]+|0x[0-9a-fA-F]+|".*")$/;

/**
 * Reads one fragment. Every line is empty, a comment, or `CONFIG_NAME=value # reason`.
 *
 * @throws Error naming file and line of anything else, of an option without a reason, of a module (`=m`), and of a repeated option
 */
export function parseFragment(fragment: string, text: string): KernelOption[] {
  const options: KernelOption[] = [];
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    const where = `${fragment}:${index + 1}`;
    const groups = OPTION_LINE.exec(line)?.groups;
    if (groups === undefined) {
      throw new Error(`read kernel fragment ${where}: "${line}" is not "CONFIG_NAME=value # reason"`);
    }
    const { name = '', value = '', reason = '' } = groups;
    if (!VALUE.test(value)) {
      throw new Error(
        `read kernel fragment ${where}: ${name}=${value}: use y, n, a number or a quoted string (no modules)`,
      );
    }
    options.push({ name, value, reason, fragment, line: index + 1 });
  }
  assertDistinct(options);
  return options;
}

/**
 * Refuses an option that is asked for twice: the second would silently win.
 *
 * @throws Error naming both places
 */
export function assertDistinct(options: readonly KernelOption[]): void {
  const seen = new Map<string, KernelOption>();
  for (const option of options) {
    const first = seen.get(option.name);
    if (first !== undefined) {
      throw new Error(
        `read kernel fragments: ${option.name} is in ${first.fragment}:${first.line} and in ${option.fragment}:${option.line}: keep one`,
      );
    }
    seen.set(option.name, option);
  }
}

/** The options in the form that kconfig's own tools read (they know no comment after a value, and spell `n` in words). */
export function toKconfig(options: readonly KernelOption[]): string {
  return options.map(({ name, value }) => (value === 'n' ? `# ${name} is not set\n` : `${name}=${value}\n`)).join('');
}

/** Reads a finished `.config`. Symbols that are switched off or do not exist are absent from the map. */
export function parseConfig(text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const line of text.split('\n')) {
    const match = CONFIG_SET_LINE.exec(line);
    if (match?.[1] !== undefined && match[2] !== undefined) values.set(match[1], match[2]);
  }
  return values;
}

/** Symbols that kconfig made modules by some default: nothing would ever load them. */
export function findModules(config: ReadonlyMap<string, string>): string[] {
  return [...config].filter(([, value]) => value === 'm').map(([name]) => name);
}

/** The options that are not in the finished configuration as they were asked for, in the order of the fragments. */
export function findLostOptions(options: readonly KernelOption[], config: ReadonlyMap<string, string>): LostOption[] {
  const lost: LostOption[] = [];
  for (const option of options) {
    const actual = config.get(option.name) ?? 'n';
    if (actual !== option.value) lost.push({ option, actual });
  }
  return lost;
}

/** The sentence that ends a build whose options did not survive: one line for each. */
export function describeLostOptions(lost: readonly LostOption[]): string {
  const lines = lost.map(
    ({ option, actual }) =>
      `  ${option.name}: asked for ${option.value} in ${option.fragment}:${option.line}, got ${actual}`,
  );
  return [
    `configure guest kernel: ${lost.length} requested option(s) did not survive; look at "depends on" and "select" of each in the kernel's Kconfig files`,
    ...lines,
  ].join('\n');
}
