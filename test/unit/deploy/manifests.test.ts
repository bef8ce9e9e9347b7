/** The files that users copy to their nodes: they parse, and name the same runtime by the same names. */
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parse } from 'smol-toml';
import { describe, expect, test } from 'vitest';

const DEPLOY = join(import.meta.dirname, '../../../deploy');
const HANDLER = 'tskata';
const SHIM = 'containerd-shim-tskata-v2';

const text = (path: string): string => readFileSync(join(DEPLOY, path), 'utf8');

/** The value below keys. */
function below(value: unknown, ...keys: readonly string[]): unknown {
  return keys.reduce((inner: unknown, key) => (inner as Record<string, unknown> | undefined)?.[key], value);
}

describe('manifests', () => {
  test.each([
    ['containerd/1.toml', 2, 'io.containerd.grpc.v1.cri'],
    ['containerd/2.toml', 3, 'io.containerd.cri.v1.runtime'],
  ])('%s names the runtime by which containerd finds the shim', (path, version, plugin) => {
    const config = parse(text(path));
    expect(config.version).toBe(version);
    const entry = below(config, 'plugins', plugin, 'containerd', 'runtimes', HANDLER);
    expect(entry).toEqual({
      runtime_type: 'io.containerd.tskata.v2',
      privileged_without_host_devices: true,
      pod_annotations: ['io.tskata.*'],
    });
  });

  // CRI-O does not start with a name in allowed_annotations that is not one of its own, and hands on all others anyway.
  test('crio/50-tskata.conf names the shim, and no annotation that CRI-O does not know', () => {
    const entry = below(parse(text('crio/50-tskata.conf')), 'crio', 'runtime', 'runtimes', HANDLER);
    expect(basename(String(below(entry, 'runtime_path')))).toBe(SHIM);
    expect(below(entry, 'runtime_type')).toBe('vm');
    expect(entry).not.toHaveProperty('allowed_annotations');
  });

  test('runtimeclass.yaml names the handler of these entries', () => {
    expect(text('runtimeclass.yaml')).toMatch(new RegExp(`^handler: ${HANDLER}$`, 'm'));
  });
});
