/** Owns the reading of /proc/PID/mountinfo (proc_pid_mountinfo(5)). */

/** One mount of a mount namespace. */
export interface MountEntry {
  readonly id: number;
  /** What of the file system is mounted: "/", or the directory or file that was bound. */
  readonly root: string;
  readonly point: string;
  /** Options of the mount itself: "ro", "nosuid", "relatime". */
  readonly options: readonly string[];
  /** "tmpfs", "ext4". */
  readonly type: string;
}

/** Mounts by id. Lines that are not understood are left out. */
export function parseMountInfo(text: string): ReadonlyMap<number, MountEntry> {
  const entries = new Map<number, MountEntry>();
  for (const line of text.split('\n')) {
    const [left = '', right = ''] = line.split(' - ', 2);
    const [id = '', , , root, point, options] = left.split(' ');
    const [type = ''] = right.split(' ');
    if (root === undefined || point === undefined || options === undefined || type === '') continue;
    entries.set(Number(id), {
      id: Number(id),
      root: unescapeOctal(root),
      point: unescapeOctal(point),
      options: options.split(','),
      type,
    });
  }
  return entries;
}

/** Blanks, newlines and backslashes are octal. */
function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
