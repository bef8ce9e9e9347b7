/** Root directories with busybox alone. */
import { copyFileSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

/** A directory of the host with busybox and links for all its applets. */
export function writeBusyboxRoot(path: string): string {
  for (const name of ['bin', 'dev', 'etc', 'proc', 'sys', 'tmp']) mkdirSync(join(path, name), { recursive: true });
  copyFileSync('/bin/busybox', join(path, 'bin/busybox'));
  for (const name of APPLETS) symlinkSync('busybox', join(path, 'bin', name));
  return path;
}

const APPLETS = [
  ...['sh', 'cat', 'ls', 'stat', 'df', 'touch', 'mkdir', 'rm', 'rmdir', 'mv', 'cp', 'ln', 'chown', 'chmod', 'sleep'],
  ...[
    'mount',
    'umount',
    'mknod',
    'mkfifo',
    'find',
    'grep',
    'head',
    'wc',
    'sort',
    'seq',
    'dd',
    'sync',
    'readlink',
    'su',
  ],
  ...[
    'id',
    'true',
    'echo',
    'od',
    'tr',
    'cut',
    'nc',
    'xargs',
    'tail',
    'test',
    'md5sum',
    'du',
    'expr',
    'uniq',
    'sed',
    'kill',
  ],
];
