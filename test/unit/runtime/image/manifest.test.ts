import { describe, expect, it } from 'vitest';
import { checkPlatform, decodeImageDocument, hostArchitecture } from '../../../../runtime/image/config.ts';
import { choosePlatform, decodeManifest } from '../../../../runtime/image/manifest.ts';

const DIGEST = `sha256:${'0'.repeat(64)}`;
const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: DIGEST, size: 10 };
const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: DIGEST, size: 10 };

function manifest(fields: object): Uint8Array {
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config,
      layers: [layer],
      ...fields,
    }),
  );
}

describe('manifests', () => {
  it('of OCI and Docker are read', () => {
    expect(decodeManifest(manifest({}))).toMatchObject({ kind: 'manifest', config, layers: [layer] });
    const docker = {
      mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
      config: { ...config, mediaType: 'application/vnd.docker.container.image.v1+json' },
      layers: [{ ...layer, mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip' }],
    };
    expect(decodeManifest(manifest(docker))).toMatchObject({
      kind: 'manifest',
      layers: [{ digest: DIGEST, size: 10 }],
    });
    // The media type is optional in OCI documents.
    expect(decodeManifest(manifest({ mediaType: undefined }))).toMatchObject({ kind: 'manifest' });
  });

  it.each([
    [{ schemaVersion: 1 }, /schema version 2/],
    [
      { layers: [{ ...layer, digest: 'sha256:../../etc/passwd' }] },
      /manifest\.layers\[0\]\.digest - .* is not a digest/,
    ],
    [{ layers: [{ ...layer, size: -1 }] }, /manifest\.layers\[0\]\.size/],
    [{ layers: [{ ...layer, size: 1.5 }] }, /size - it is not a whole number/],
    [{ layers: 'none' }, /manifest\.layers - it is not a list/],
    [{ layers: [null] }, /manifest\.layers\[0\] - it is not an object/],
    [{ layers: Array.from({ length: 129 }, () => layer) }, /129 layers/],
    [{ layers: [{ ...layer, mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip+encrypted' }] }, /encrypted/],
    [{ config: { ...config, mediaType: 'application/vnd.example.artifact' } }, /an artifact/],
    [{ config: { ...config, size: 1e9 } }, /at most/],
    [{ mediaType: 'text/plain' }, /not that of an image/],
  ])('%j is refused', (fields, message) => {
    expect(() => decodeManifest(manifest(fields))).toThrow(message);
  });

  it('that are no JSON, or too large, are refused', () => {
    expect(() => decodeManifest(Buffer.from('{'))).toThrow(/not JSON/);
    expect(() => decodeManifest(Buffer.from([0xff, 0xfe]))).toThrow(/not JSON/);
    expect(() => decodeManifest(Buffer.alloc(5 * 1024 * 1024))).toThrow(/at most/);
  });

  it('of several platforms give the one for this machine', () => {
    const entry = (architecture: string, digit: string): object => ({
      ...layer,
      digest: `sha256:${digit.repeat(64)}`,
      platform: { os: 'linux', architecture },
    });
    const index = decodeManifest(
      Buffer.from(
        JSON.stringify({ schemaVersion: 2, manifests: [entry('s390x', '1'), entry(hostArchitecture(), '2')] }),
      ),
    );
    if (index.kind !== 'index') throw new Error('not an index');
    expect(choosePlatform(index, 'x').digest).toBe(`sha256:${'2'.repeat(64)}`);
    expect(() => choosePlatform({ ...index, manifests: index.manifests.slice(0, 1) }, 'x')).toThrow(
      /only for: linux\/s390x/,
    );
  });
});

describe('configurations', () => {
  const document = (fields: object): Uint8Array =>
    Buffer.from(
      JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [DIGEST] }, ...fields }),
    );

  it('take null and absence alike', () => {
    const { config: empty } = decodeImageDocument(document({ config: { Env: null, Cmd: null, Labels: null } }));
    expect(empty).toEqual({
      Env: [],
      Entrypoint: [],
      Cmd: [],
      WorkingDir: '',
      User: '',
      ExposedPorts: [],
      Volumes: [],
      StopSignal: '',
      Labels: {},
    });
    expect(decodeImageDocument(document({})).config).toEqual(empty);
  });

  it('read what containers use, and keep strange keys harmless', () => {
    const text = '{"__proto__":"x","a":"b"}';
    const bytes = Buffer.from(
      Buffer.from(document({ config: { ExposedPorts: { '80/tcp': {} }, Labels: 'LABELS' } }))
        .toString()
        .replace('"LABELS"', text),
    );
    const { config: read } = decodeImageDocument(bytes);
    expect(read.ExposedPorts).toEqual(['80/tcp']);
    expect(Object.getPrototypeOf(read.Labels)).toBe(Object.prototype);
    expect(Object.hasOwn(read.Labels, '__proto__')).toBe(true);
  });

  it('with wrong types are refused by their path', () => {
    expect(() => decodeImageDocument(document({ config: { Env: 'A=1' } }))).toThrow('image configuration.config.Env');
    expect(() => decodeImageDocument(document({ config: { Env: [1] } }))).toThrow('Env[0]');
    expect(() => decodeImageDocument(document({ rootfs: { diff_ids: ['x'] } }))).toThrow('diff_ids[0]');
    expect(() => decodeImageDocument(document({ os: undefined }))).toThrow('image configuration.os');
  });

  it('of another platform are refused', () => {
    expect(() => checkPlatform({ ...decodeImageDocument(document({})), os: 'windows' }, 'x')).toThrow(/windows\/amd64/);
  });
});
