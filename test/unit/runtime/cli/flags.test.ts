import { describe, expect, it } from 'vitest';
import { parseEnvironment } from '../../../../runtime/cli/flags/environment.ts';
import { parseCpus, parsePids, parseUlimit } from '../../../../runtime/cli/flags/limits.ts';
import { parsePublish } from '../../../../runtime/cli/flags/publish.ts';
import { parseSecurityOptions } from '../../../../runtime/cli/flags/security.ts';
import { parseSize } from '../../../../runtime/cli/flags/size.ts';
import { parseMount, parseTmpfs, parseVolume } from '../../../../runtime/cli/flags/volume.ts';
import { parseSignal } from '../../../../runtime/cli/signals.ts';

describe('parseSize', () => {
  it.each([
    ['0', 0],
    ['512', 512],
    ['64m', 64 * 2 ** 20],
    ['64MiB', 64 * 2 ** 20],
    ['1.5g', 1.5 * 2 ** 30],
    ['2kb', 2048],
  ])('%s is %d bytes', (text, bytes) => {
    expect(parseSize('--memory', text)).toBe(bytes);
  });
  it.each(['', 'm', '-1', '1x', '1 000', '1e3'])('refuses %j', (text) => {
    expect(() => parseSize('--memory', text)).toThrow('--memory');
  });
});

describe('parseVolume', () => {
  it('reads source, destination and options', () => {
    expect(parseVolume('-v', '/a:/b/:ro,rslave')).toEqual({
      source: '/a',
      destination: '/b',
      readOnly: true,
      propagation: 'rslave',
    });
  });
  it.each([
    ['/a', 'write SOURCE:DESTINATION'],
    ['data:/b', 'named volumes are not supported'],
    ['/a:b', 'must be an absolute path'],
    ['/a:/', 'the root of the container'],
    ['/a:/b:rp', 'unknown option "rp"'],
    ['/a:/b:ro:x', 'write SOURCE:DESTINATION'],
  ])('refuses %s', (text, message) => {
    expect(() => parseVolume('-v', text)).toThrow(message);
  });
});

describe('parseMount', () => {
  it('reads binds and tmpfs', () => {
    expect(parseMount('--mount', 'type=bind,src=/a,dst=/b,readonly')).toEqual({
      volume: { source: '/a', destination: '/b', readOnly: true, propagation: '' },
    });
    expect(parseMount('--mount', 'type=tmpfs,target=/t,tmpfs-size=64m,tmpfs-mode=1770')).toEqual({
      tmpfs: { destination: '/t', options: ['size=64m', 'mode=1770'] },
    });
  });
  it.each([
    ['type=volume,source=x,target=/b', 'type "volume" is not supported'],
    ['type=bind,source=a,target=/b', 'source must be an absolute path'],
    ['type=bind,source=/a,target=/b,colour=red', 'unknown field "colour"'],
    ['type=bind,source=/a', 'must be an absolute path'],
  ])('refuses %s', (text, message) => {
    expect(() => parseMount('--mount', text)).toThrow(message);
  });
});

describe('parseTmpfs', () => {
  it('reads options', () => {
    expect(parseTmpfs('--tmpfs', '/run:size=1m,mode=755')).toEqual({
      destination: '/run',
      options: ['size=1m', 'mode=755'],
    });
    expect(parseTmpfs('--tmpfs', '/run')).toEqual({ destination: '/run', options: [] });
  });
});

describe('parsePublish', () => {
  it.each([
    ['8080:80', [{ hostIp: '0.0.0.0', hostPort: 8080, containerPort: 80 }]],
    ['127.0.0.1:53:53/tcp', [{ hostIp: '127.0.0.1', hostPort: 53, containerPort: 53 }]],
    ['[::1]:1:2', [{ hostIp: '::1', hostPort: 1, containerPort: 2 }]],
  ])('%s', (text, expected) => {
    expect(parsePublish('-p', text)).toEqual(expected);
  });
  it('pairs the ports of ranges', () => {
    expect(
      parsePublish('-p', '9000-9002:80-82').map(({ hostPort, containerPort }) => [hostPort, containerPort]),
    ).toEqual([
      [9000, 80],
      [9001, 81],
      [9002, 82],
    ]);
  });
  it.each([
    ['80', 'write [ADDRESS:]HOSTPORT:CONTAINERPORT'],
    ['0:80', 'is not a port'],
    ['70000:80', 'is not a port'],
    ['1-3:1-2', 'differ in length'],
    ['host:1:2', 'is not an IP address'],
    ['53:53/udp', 'only tcp'],
  ])('refuses %s', (text, message) => {
    expect(() => parsePublish('-p', text)).toThrow(message);
  });
});

describe('parseEnvironment', () => {
  it('takes a name alone from the caller', () => {
    expect(parseEnvironment('-e', ['A=1', 'HOME', 'NOT_THERE', 'B='], { HOME: '/root' })).toEqual([
      'A=1',
      'HOME=/root',
      'B=',
    ]);
  });
  it('refuses an entry without a name', () => {
    expect(() => parseEnvironment('-e', ['=x'], {})).toThrow('has no name');
  });
});

describe('limits', () => {
  it('reads ulimits', () => {
    expect(parseUlimit('--ulimit', 'nofile=1024:4096')).toEqual({ type: 'RLIMIT_NOFILE', soft: 1024, hard: 4096 });
    expect(parseUlimit('--ulimit', 'core=0')).toEqual({ type: 'RLIMIT_CORE', soft: 0, hard: 0 });
    expect(parseUlimit('--ulimit', 'memlock=-1').hard).toBe(2 ** 64);
    expect(() => parseUlimit('--ulimit', 'nofile=2:1')).toThrow('above the hard');
    expect(() => parseUlimit('--ulimit', 'files=2')).toThrow('is not a limit');
  });
  it('reads CPUs and process counts', () => {
    expect(parseCpus('--cpus', '.5')).toBe(0.5);
    expect(() => parseCpus('--cpus', '0')).toThrow('positive');
    expect(parsePids('--pids-limit', '0')).toBe(-1);
  });
});

describe('parseSignal', () => {
  it.each([
    ['TERM', 15],
    ['sigkill', 9],
    ['10', 10],
    ['RTMIN+3', 37],
  ])('%s is %d', (text, number) => {
    expect(parseSignal('-s', text)).toBe(number);
  });
  it.each(['', '0', '65', 'BOGUS', 'RTMIN+99'])('refuses %j', (text) => {
    expect(() => parseSignal('-s', text)).toThrow('not a signal');
  });
});

describe('parseSecurityOptions', () => {
  it("knows docker's forms", () => {
    expect(parseSecurityOptions('--security-opt', ['no-new-privileges', 'seccomp=unconfined'])).toEqual({
      seccomp: { kind: 'unconfined' },
      noNewPrivileges: true,
    });
    expect(() => parseSecurityOptions('--security-opt', ['apparmor=x'])).toThrow('use seccomp=');
    expect(() => parseSecurityOptions('--security-opt', ['seccomp=/does/not/exist'])).toThrow('ENOENT');
  });
});
