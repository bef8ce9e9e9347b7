/**
 * Owns the built-in image: busybox of this machine, with a link for every applet and the few files that programs
 * expect. It needs no registry and gives the same bytes every time for the same busybox. The one importer of tar-stream.
 */
import { constants } from 'node:fs';
import { access, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pack } from 'tar-stream';
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { run } from '../host/process.ts';
import { hostArchitecture } from './config.ts';
import { digestOf } from './digest.ts';
import type { ImageStore, NamedImage } from './image-store.ts';
import { MediaType } from './manifest.ts';
import { writeBlob } from './store/blobs.ts';

const BUSYBOX_NAME = 'busybox:latest';

const BINARY = '/bin/busybox';
const LIST_TIMEOUT_MS = 10_000;
/** Everything is from this moment: an image must not depend on when it was made. */
const EPOCH = new Date(0);
const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const DIRECTORIES: readonly (readonly [string, number])[] = [
  ['bin', 0o755],
  ['dev', 0o755],
  ['etc', 0o755],
  ['home', 0o755],
  ['proc', 0o555],
  ['root', 0o700],
  ['run', 0o755],
  ['sbin', 0o755],
  ['sys', 0o555],
  ['tmp', 0o1777],
  ['usr', 0o755],
  ['usr/bin', 0o755],
  ['usr/sbin', 0o755],
  ['var', 0o755],
  ['var/tmp', 0o1777],
];

const FILES: readonly (readonly [string, number, string])[] = [
  ['etc/group', 0o644, 'root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nnobody:x:65534:\n'],
  ['etc/nsswitch.conf', 0o644, 'passwd: files\ngroup: files\nhosts: files dns\n'],
  [
    'etc/passwd',
    0o644,
    'root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\nwww-data:x:33:33:www-data:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  ],
  ['etc/shadow', 0o600, 'root:*:::::::\n'],
];

/** Makes the image and stores it as busybox:latest. Throws with the package that is missing. */
export async function buildBusyboxImage(store: ImageStore, binary = BINARY): Promise<NamedImage> {
  await checkBinary(binary);
  const { stdout } = await run(binary, ['--list-full'], { timeoutMs: LIST_TIMEOUT_MS });
  const applets = stdout.split('\n').filter((path) => /^(usr\/)?s?bin\/[^/]+$/.test(path) && path !== 'bin/busybox');
  const layer = await makeLayer(await readFile(binary), applets);
  const diffId = digestOf(layer);
  const document = {
    architecture: hostArchitecture(),
    os: 'linux',
    created: EPOCH.toISOString(),
    config: { Env: [PATH], Cmd: ['sh'], WorkingDir: '/' },
    rootfs: { type: 'layers', diff_ids: [diffId] },
    history: [{ created: EPOCH.toISOString(), comment: 'busybox of this machine' }],
  };
  const config = Buffer.from(JSON.stringify(document));
  const manifest = {
    schemaVersion: 2,
    mediaType: MediaType.ociManifest,
    config: { mediaType: MediaType.ociConfig, digest: digestOf(config), size: config.length },
    layers: [{ mediaType: MediaType.ociLayer, digest: diffId, size: layer.length }],
  };
  for (const blob of [layer, config]) await writeBlob(store.paths, blob);
  const manifestDigest = await writeBlob(store.paths, Buffer.from(JSON.stringify(manifest)));
  return await store.add(
    { digest: manifestDigest, manifestDigest, manifest: { kind: 'manifest', ...manifest } },
    BUSYBOX_NAME,
  );
}

/** A guest of another distribution has no libraries of this one: the program must be static. */
async function checkBinary(binary: string): Promise<void> {
  const advice = 'install the package busybox-static';
  try {
    await access(binary, constants.X_OK);
  } catch {
    throw new TskataError(Code.NotFound, `make image ${BUSYBOX_NAME} - ${binary} does not exist - ${advice}`);
  }
  const elf = await readFile(binary);
  const tableAt = Number(elf.readBigUInt64LE(32));
  const entryBytes = elf.readUInt16LE(54);
  const interpreter = 3;
  for (let index = 0; index < elf.readUInt16LE(56); index++) {
    if (elf.readUInt32LE(tableAt + index * entryBytes) !== interpreter) continue;
    throw new TskataError(
      Code.FailedPrecondition,
      `make image ${BUSYBOX_NAME} - ${binary} needs shared libraries - ${advice}`,
    );
  }
}

async function makeLayer(busybox: Buffer, applets: readonly string[]): Promise<Buffer> {
  const archive = pack();
  const common = { mtime: EPOCH, uid: 0, gid: 0 };
  for (const [name, mode] of DIRECTORIES) archive.entry({ ...common, name: `${name}/`, type: 'directory', mode });
  archive.entry({ ...common, name: 'bin/busybox', mode: 0o755 }, busybox);
  for (const path of applets.toSorted()) {
    const up = dirname(path)
      .split('/')
      .map(() => '..')
      .join('/');
    archive.entry({ ...common, name: path, type: 'symlink', linkname: `${up}/bin/busybox`, mode: 0o777 });
  }
  for (const [name, mode, content] of FILES) archive.entry({ ...common, name, mode }, content);
  archive.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of archive) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
