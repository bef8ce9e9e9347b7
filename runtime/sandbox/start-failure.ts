/** Owns what the words of a failed start mean. They are runc's: docker and CRI match on them as well. */

/** The program was found but cannot be executed. */
const EXIT_NOT_EXECUTABLE = 126;
/** The program was not found. */
const EXIT_NOT_FOUND = 127;

/**
 * As shells have it; undefined when it was not the program itself: a volume that is not there is no missing program.
 * The words are the guest's: time is linear in their length, which a pattern over both quotes would not be.
 */
export function programFailure(message: string): number | undefined {
  const start = message.search(/\bexec: "/);
  if (start < 0) return undefined;
  const rest = message.slice(start);
  if (/": (executable file not found|no such file or directory)/.test(rest)) return EXIT_NOT_FOUND;
  if (/": (permission denied|not a directory|is a directory|exec format error)/.test(rest)) return EXIT_NOT_EXECUTABLE;
  return undefined;
}
