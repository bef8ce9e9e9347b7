/** Host paths as `inspectSources` would have found them, without a host. */
import type { HostSource } from '../../runtime/storage/host-source.ts';
import type { MountEntry } from '../../runtime/storage/mount-info.ts';

/** A directory on a plain disk, but for what is said. */
export function hostSource(
  path: string,
  more: Partial<Omit<HostSource, 'mount'>> & { readonly mount?: Partial<MountEntry> } = {},
): HostSource {
  const mount = { id: 1, root: '/', point: '/', options: ['rw', 'relatime'], type: 'ext4', ...more.mount };
  return {
    kind: 'directory',
    path,
    device: 2049n,
    inode: 7n,
    mode: 0o755,
    uid: 0,
    gid: 0,
    sizeBytes: 1n << 30n,
    identity: path,
    ...more,
    mount,
  };
}

/** A tmpfs that is mounted at `path`. */
export function tmpfsSource(path: string, more: Partial<Omit<HostSource, 'mount'>> = {}): HostSource {
  const mount = { root: '/', point: path, options: ['rw', 'nosuid', 'nodev', 'noexec'], type: 'tmpfs' };
  return hostSource(path, { device: 77n, mode: 0o1777, sizeBytes: 64n << 20n, ...more, mount });
}
