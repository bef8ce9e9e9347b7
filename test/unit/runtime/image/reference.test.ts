import { describe, expect, it } from 'vitest';
import { familiarName, formatReference, parseReference, parseSource } from '../../../../runtime/image/reference.ts';

const DIGEST = `sha256:${'ab'.repeat(32)}`;

describe('image names', () => {
  it.each([
    ['busybox', 'docker.io/library/busybox:latest'],
    ['busybox:1.36', 'docker.io/library/busybox:1.36'],
    ['team/app', 'docker.io/team/app:latest'],
    ['docker.io/busybox', 'docker.io/library/busybox:latest'],
    ['index.docker.io/busybox', 'docker.io/library/busybox:latest'],
    ['localhost/app', 'localhost/app:latest'],
    ['localhost:5000/app:v1', 'localhost:5000/app:v1'],
    ['127.0.0.1:5000/a/b__c-d.e:v1', '127.0.0.1:5000/a/b__c-d.e:v1'],
    ['[::1]:5000/app', '[::1]:5000/app:latest'],
    ['REGISTRY.example.com/app', 'registry.example.com/app:latest'],
    [`app@${DIGEST}`, `docker.io/library/app@${DIGEST}`],
    [`quay.io/app:v1@${DIGEST}`, `quay.io/app:v1@${DIGEST}`],
  ])('%s is %s', (text, full) => {
    expect(formatReference(parseReference(text))).toBe(full);
    expect(formatReference(parseReference(full))).toBe(full);
    expect(formatReference(parseReference(familiarName(full)))).toBe(full);
  });

  it.each([
    ['', 'a part of the name is empty'],
    ['app:', 'is not a tag'],
    ['app:-v', 'is not a tag'],
    ['app:a:b', 'is not a tag'],
    ['team/App', 'repository names are lower case'],
    ['a//b', 'a part of the name is empty'],
    ['a/../b', "'..' is not a part"],
    ['-x.example/app', "'-x.example' is not a registry"],
    ['host:port/app', "'host:port' is not a registry"],
    ['app@sha256:12', 'is not a digest'],
    ['app@md5:12', 'is not a digest'],
    [`${'a'.repeat(300)}`, 'longer than 255'],
    ['a'.repeat(2000), 'longer than 1024'],
    ['app\n', 'is not a part'],
  ])('%j is refused: %s', (text, message) => {
    expect(() => parseReference(text)).toThrow(message);
  });
});

describe('sources', () => {
  it('know the transports of skopeo', () => {
    expect(parseSource('docker://busybox')).toMatchObject({
      transport: 'docker',
      reference: { repository: 'library/busybox' },
    });
    expect(parseSource('oci:/a/b:v1')).toEqual({ transport: 'oci', path: '/a/b', image: 'v1' });
    expect(parseSource('oci:/a/b')).toEqual({ transport: 'oci', path: '/a/b', image: '' });
    expect(parseSource('docker-archive:x.tar:app:v1')).toEqual({
      transport: 'docker-archive',
      path: 'x.tar',
      image: 'app:v1',
    });
    expect(parseSource('oci-archive:x.tar')).toMatchObject({ transport: 'oci-archive', path: 'x.tar' });
    // A repository that is called as a transport is.
    expect(parseSource('docker:24')).toMatchObject({
      transport: 'docker',
      reference: { repository: 'library/docker', tag: '24' },
    });
  });

  it('refuse others', () => {
    expect(() => parseSource('docker-daemon:app:v1')).toThrow(/docker-daemon: is not supported/);
    expect(() => parseSource('oci:')).toThrow(/path is empty/);
    expect(() => parseSource('dir:/x')).toThrow(/not supported/);
  });
});
