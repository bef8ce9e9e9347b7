/** Owns what the words of a failed start mean. They are runc's: docker and CRI match on them as well. */

/** The program was found but cannot be executed. */
const EXIT_NOT_EXECUTABLE = 126;
/** The program was not found. */
const EXIT_NOT_FOUND = 127;

/** As shells have it; undefined when it was not the program itself: a volume that is not there is no missing program. */
export function programFailure(message: string): number | undefined {
  if (/\bexec: ".*": (executable file not found|no such file or directory)/s.test(message)) return EXIT_NOT_FOUND;
  if (/\bexec: ".*": (permission denied|not a directory|is a directory|exec format error)/s.test(message))
    return EXIT_NOT_EXECUTABLE;
  return undefined;
}
