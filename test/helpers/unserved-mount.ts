/** A file system whose server never answers, as that of a server of the network that is gone: whoever looks at it waits. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';

/** The kernel waits for the server's first word from then on. */
const MOUNT =
  'exec 3<>/dev/fuse; mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 unserved "$0"; echo up; exec cat';

/** Mounts it on a directory. `end` lets all who wait go, with an error. */
export async function mountUnserved(path: string): Promise<{ end(): Promise<void> }> {
  const server = spawn('sh', ['-c', MOUNT, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [first] = (await Promise.race([once(server.stdout, 'data'), once(server, 'exit')])) as [unknown];
  if (String(first) !== 'up\n') throw new Error(`nothing was mounted on ${path}: is there a /dev/fuse?`);
  return {
    end: async () => {
      const ended = once(server, 'exit');
      server.stdin.end();
      await ended;
      execFileSync('umount', ['-l', path]);
    },
  };
}
