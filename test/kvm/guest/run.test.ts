/** `tskata run` under KVM: one machine is asked many questions, because each costs a minute here. */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Result, Tskata } from '../../helpers/tskata.ts';
import { callPatiently, HOOK_MS, HOST_ADDRESS, host, hostTskata, OUTSIDE_ADDRESS } from './host.ts';

let tskata: Tskata;
let directory: string;

beforeAll(async () => {
  tskata = await hostTskata();
  directory = mkdtempSync(join(tmpdir(), 'kvm-run-'));
});
afterAll(() => {
  expect(tskata.leaks()).toEqual([]);
});

describe('tskata run under KVM: image, volume, user network, two CPUs', () => {
  let servers: ChildProcess[];
  let result: Result;
  let answers: Map<string, string>;

  beforeAll(async () => {
    const pages = join(directory, 'pages');
    mkdirSync(pages);
    writeFileSync(join(pages, 'index.html'), 'a page');
    const httpd = ['busybox', 'httpd', '-f', '-p', '80', '-h', pages];
    servers = [spawn('ip', ['netns', 'exec', 'outside', ...httpd]), spawn('busybox', httpd.slice(1))];
    const volume = join(directory, 'volume');
    mkdirSync(volume);
    writeFileSync(join(volume, 'in'), 'given');
    const get = "printf 'GET / HTTP/1.0\\r\\n\\r\\n'";
    const script = [
      'echo kernel=$(uname -r)',
      'echo cpus=$(nproc)',
      'echo online=$(grep -c ^processor /proc/cpuinfo)',
      'echo virtualization=$(grep -cwE "svm|vmx" /proc/cpuinfo)',
      'echo device=$(ls /dev/kvm 2>/dev/null)',
      'echo clock=$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)',
      'echo volume=$(cat /data/in)',
      'echo taken > /data/out',
      // Not by wget: the static one of Debian's busybox crashes where there is no name service. One line is enough.
      `echo outside=$(exec 2>/dev/null; ${get} | timeout 15 nc ${OUTSIDE_ADDRESS} 80 | head -n 1)`,
      `echo host=$(exec 2>/dev/null; ${get} | timeout 10 nc ${HOST_ADDRESS} 80 | head -n 1)`,
      'exit 7',
    ].join('\n');
    // More than this host has, so by the administrator's word.
    const file = join(tskata.directory, 'cpus.toml');
    writeFileSync(file, '[machine]\nmax_vcpus = 2\n', { mode: 0o644 });
    const args = [
      '--runtime-config-path',
      file,
      'run',
      '--rm',
      '--cpus',
      '2',
      '-v',
      `${volume}:/data`,
      'busybox',
      'sh',
      '-c',
      script,
    ];
    result = await callPatiently(tskata, args);
    const lines = result.stdout.trim().split('\n');
    answers = new Map(lines.map((line) => [line.split('=')[0] ?? '', line.split('=').slice(1).join('=')]));
  }, HOOK_MS);
  afterAll(() => {
    for (const server of servers ?? []) server.kill();
  });

  it('ends with the exit code of the program', () => {
    expect(result.stderr).toBe('');
    expect(result.status).toBe(7);
  });

  it('runs the guest kernel', () => {
    expect(answers.get('kernel')).toMatch(/-tskata$/);
    expect(answers.get('kernel')).not.toBe(release());
  });

  it('was a machine of KVM', () => {
    // A clock that only KVM offers.
    expect(answers.get('clock')).toBe('kvm-clock');
  });

  it('hides virtualization from the guest', () => {
    expect(answers.get('virtualization')).toBe('0');
    expect(answers.get('device')).toBe('');
  });

  it('has two CPUs', () => {
    expect(answers.get('cpus')).toBe('2');
    expect(answers.get('online')).toBe('2');
  });

  it('reads and writes its volume', () => {
    expect(answers.get('volume')).toBe('given');
    expect(readFileSync(join(directory, 'volume/out'), 'utf8')).toBe('taken\n');
  });

  it('reaches other machines, and not the host', () => {
    expect(answers.get('outside')).toMatch(/^HTTP\/1\.\d 200 OK/);
    expect(answers.get('host')).toBe('');
  });
});

describe('tskata run --rootfs under KVM', () => {
  it('runs on a directory of the host, without a network', async () => {
    const rootfs = join(directory, 'rootfs');
    mkdirSync(join(rootfs, 'bin'), { recursive: true });
    await host('cp', '/bin/busybox', join(rootfs, 'bin/busybox'));
    writeFileSync(
      join(rootfs, 'bin/answer'),
      '#!/bin/busybox sh\necho $(/bin/busybox ip -o link | /bin/busybox grep -c ",UP")\nexit 3\n',
    );
    chmodSync(join(rootfs, 'bin/answer'), 0o755);
    const args = ['run', '--rm', '--network', 'none', '--rootfs', rootfs, '/bin/answer'];
    const result = await callPatiently(tskata, args);
    expect(result).toEqual({ status: 3, stdout: '1\n', stderr: '' });
  });
});
