/**
 * Owns the list of mount options that may go to the guest. An option that is not here is refused by name, not dropped:
 * a restriction that silently vanishes is a hole.
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';

/** Words of OCI config.md's table of Linux mount options; the guest has no use for those that map ids. */
const FLAGS = new Set(
  `async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec
  noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime
  remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime
  rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync
  tmpcopyup unbindable`.split(/\s+/),
);

const NUMBER = /^[0-9]{1,20}$/;
const OCTAL = /^[0-7]{1,4}$/;
const SIZE = /^[0-9]{1,20}[kKmMgG%]?$/;

const VALUES: ReadonlyMap<string, ReadonlyMap<string, RegExp>> = new Map([
  [
    'tmpfs',
    new Map([
      ['size', SIZE],
      ['mode', OCTAL],
      ['uid', NUMBER],
      ['gid', NUMBER],
      ['nr_inodes', SIZE],
      ['nr_blocks', SIZE],
      ['huge', /^(never|always|within_size|advise)$/],
    ]),
  ],
  [
    'devpts',
    new Map([
      ['mode', OCTAL],
      ['ptmxmode', OCTAL],
      ['uid', NUMBER],
      ['gid', NUMBER],
      ['max', NUMBER],
    ]),
  ],
  [
    'proc',
    new Map([
      ['hidepid', /^[0-9a-z]{1,12}$/],
      ['gid', NUMBER],
      ['subset', /^pid$/],
    ]),
  ],
]);
const TYPE_FLAGS: ReadonlyMap<string, readonly string[]> = new Map([
  ['devpts', ['newinstance']],
  ['cgroup', ['nsdelegate', 'memory_recursiveprot']],
  ['cgroup2', ['nsdelegate', 'memory_recursiveprot']],
]);

/** Returns the options that the guest gets. Throws InvalidArgument naming the option; `where` is its JSON path. */
export function checkMountOptions(type: string, options: readonly string[], where: string): string[] {
  return options.filter((option) => {
    // SELinux and id-mapping options have no meaning in the guest's own kernel; containerd adds the first by itself.
    if (option === '' || option.startsWith('context=')) return false;
    if (FLAGS.has(option) || TYPE_FLAGS.get(type)?.includes(option)) return true;
    const [name, value] = split(option);
    if (VALUES.get(type)?.get(name)?.test(value)) return true;
    throw new TskataError(Code.InvalidArgument, `${where}: mount option '${option}' is not known for type '${type}'`);
  });
}

function split(option: string): [string, string] {
  const at = option.indexOf('=');
  return at < 0 ? [option, ''] : [option.slice(0, at), option.slice(at + 1)];
}
