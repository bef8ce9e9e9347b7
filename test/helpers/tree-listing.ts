/**
 * Describes a directory tree line by line: type, mode, owner, time, device, links, attributes, content. GNU tar reads the
 * tree (Node cannot read extended attributes) and tar-stream reads its archive, so neither shares code with us.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { extract } from 'tar-stream';

/** One line a path, sorted. Times of directories are left out: tools differ in whose change counts. */
export async function listTree(directory: string): Promise<string[]> {
  const flags = ['--format=pax', '--xattrs', '--xattrs-include=*', '--numeric-owner', '--sort=name'];
  const child = spawn('tar', [...flags, '-C', directory, '-cf', '-', '.'], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString('latin1');
  });
  const ended = once(child, 'close');
  const lines: string[] = [];
  const archive = extract();
  child.stdout.pipe(archive);
  for await (const entry of archive) {
    const { header } = entry;
    const hash = createHash('sha256');
    for await (const chunk of entry) hash.update(chunk as Buffer);
    const xattrs = Object.entries(header.pax ?? {})
      .filter(([key]) => key.startsWith('SCHILY.xattr.'))
      .map(([key, value]) => `${key.slice('SCHILY.xattr.'.length)}=${JSON.stringify(value)}`)
      .sort();
    const mtime = header.type === 'directory' ? '' : `@${Math.floor((header.mtime?.getTime() ?? 0) / 1000)}`;
    const mode = ((header.mode ?? 0) & 0o7777).toString(8);
    const device = header.type?.endsWith('device') ? `${header.devmajor}:${header.devminor}` : '';
    const content = header.type === 'file' ? `${header.size} ${hash.digest('hex').slice(0, 16)}` : '';
    lines.push(
      [
        header.name,
        header.type,
        mode,
        `${header.uid}:${header.gid}`,
        mtime,
        device,
        header.linkname ?? '',
        content,
        ...xattrs,
      ]
        .filter((part) => part !== '')
        .join(' '),
    );
  }
  const [status] = (await ended) as [number | null];
  if (status !== 0) throw new Error(`tar of ${directory} ended with ${status}: ${said}`);
  return lines.sort();
}
