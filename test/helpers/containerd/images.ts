/**
 * Small images that need no registry: the one of sandbox containers, and busybox. `ctr images import` takes them as
 * OCI archives.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../../runtime/host/process.ts';
import { tarOf } from '../layer-tar.ts';
import { writeLayout } from '../oci-layout.ts';
import { PAUSE_IMAGE } from './config.ts';

/** An image with busybox and a link for the applets that tests call, users and groups. */
export const BUSYBOX_IMAGE = 'tskata.test/busybox:1';

const TIMEOUT_MS = 60_000;
const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const PASSWD =
  'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n';
const GROUP = 'root:x:0:\nwww-data:x:33:\nextra:x:4242:www-data\nnobody:x:65534:\n';

/** Writes both images as archives below `directory`; returns their paths. */
export async function writeBaseImages(directory: string): Promise<string[]> {
  const work = await mkdtemp(join(tmpdir(), 'tskata-images-'));
  try {
    const pause = join(work, 'pause');
    await run('gcc', ['-static', '-Os', '-s', '-o', pause, join(import.meta.dirname, 'pause.c')], {
      timeoutMs: TIMEOUT_MS,
    });
    return [
      await archive(
        join(directory, 'pause.tar'),
        PAUSE_IMAGE,
        tarOf([{ name: 'pause', mode: 0o755, data: await readFile(pause) }]),
        { Entrypoint: ['/pause'], User: '65535:65535' },
      ),
      await archive(join(directory, 'busybox.tar'), BUSYBOX_IMAGE, await busyboxLayer(), {
        Env: [PATH],
        Cmd: ['sh'],
        WorkingDir: '/',
      }),
    ];
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function busyboxLayer(): Promise<Buffer> {
  const { stdout } = await run('/bin/busybox', ['--list'], { timeoutMs: TIMEOUT_MS });
  const applets = stdout.split('\n').filter((name) => name !== '' && name !== 'busybox');
  const directories = ['bin/', 'dev/', 'etc/', 'proc/', 'root/', 'sys/', 'usr/', 'var/'];
  return tarOf([
    ...directories.map((name) => ({ name, type: '5' })),
    { name: 'tmp/', type: '5', mode: 0o1777 },
    { name: 'etc/passwd', data: PASSWD },
    { name: 'etc/group', data: GROUP },
    { name: 'bin/busybox', mode: 0o755, data: await readFile('/bin/busybox') },
    ...applets.map((name) => ({ name: `bin/${name}`, type: '2', link: 'busybox' })),
  ]);
}

/** One image as an OCI archive that carries its full name. */
async function archive(
  path: string,
  name: string,
  layer: Buffer,
  config: Readonly<Record<string, unknown>>,
): Promise<string> {
  const layout = `${path}.d`;
  await writeLayout(layout, [{ tar: layer, compression: 'none' }], { containerdName: name, config });
  await run('tar', ['-C', layout, '-cf', path, '.'], { timeoutMs: TIMEOUT_MS });
  await rm(layout, { recursive: true, force: true });
  return path;
}
