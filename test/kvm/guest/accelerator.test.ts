/** The choice of the accelerator, and what doctor says of it, in every situation that a real KVM host can be in. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { probeHost } from '../../../runtime/qemu/probe.ts';
import { Tskata } from '../../helpers/tskata.ts';
import { beInKvmHost, host } from './host.ts';

const DOCTOR_MS = 120_000;

interface Report {
  readonly ok: boolean;
  readonly accelerator: string;
  readonly reason: string;
  readonly checks: readonly {
    readonly name: string;
    readonly state: string;
    readonly fact: string;
    readonly cure?: string;
  }[];
}

let tskata: Tskata;

beforeAll(() => {
  beInKvmHost();
  tskata = new Tskata();
});
afterEach(() => host('modprobe', 'kvm_amd'));
afterAll(() => tskata.dispose());

async function doctor(): Promise<Report> {
  const { stdout } = await tskata.call(['doctor', '--json'], { timeoutMs: DOCTOR_MS });
  return JSON.parse(stdout) as Report;
}

function check(report: Report, name: string): Report['checks'][number] {
  const found = report.checks.find((entry) => entry.name === name);
  if (found === undefined) throw new Error(`doctor says nothing of ${name}`);
  return found;
}

describe('the accelerator', () => {
  it('is KVM where a guest runs under it, and doctor finds nothing wrong', async () => {
    const report = await doctor();
    expect(report).toMatchObject({ ok: true, accelerator: 'kvm' });
    expect(report.reason).toMatch(/^KVM: a test guest ran under it \(\d+ ms\)$/);
    expect(check(report, 'CPU virtualization')).toEqual({
      name: 'CPU virtualization',
      state: 'ok',
      fact: 'the CPU announces svm',
    });
    expect(check(report, 'KVM module').fact).toBe('kvm_amd is loaded');
    expect(check(report, '/dev/kvm')).toMatchObject({ state: 'ok' });
    expect(check(report, 'test guest under KVM')).toMatchObject({ state: 'ok' });
    expect(check(report, 'vhost-net').fact).toBe('/dev/vhost-net');
    expect(check(report, 'vhost-vsock').fact).toBe('/dev/vhost-vsock');
    expect(check(report, 'cgroups').fact).toBe('version 2');
  });

  it('is TCG without the module; doctor names the module to load', async () => {
    await host('rmmod', 'kvm_amd');
    const report = await doctor();
    expect(report).toMatchObject({ ok: true, accelerator: 'tcg' });
    expect(report.reason).toContain('KVM is not usable: there is no /dev/kvm (the CPU announces svm)');
    expect(check(report, 'CPU virtualization')).toMatchObject({ state: 'ok' });
    const load = expect.stringMatching(/^modprobe kvm_amd; if that is refused, turn on SVM in the firmware/);
    expect(check(report, 'KVM module')).toMatchObject({ state: 'note', cure: load });
    expect(check(report, '/dev/kvm')).toMatchObject({ state: 'note', fact: 'it does not exist' });
    expect(check(report, 'test guest under KVM')).toMatchObject({ state: 'note', fact: 'not tried' });
  });

  it('is what TSKATA_ACCEL asks for', async () => {
    const { accelerator } = await probeHost({ runRoot: tskata.directory, override: 'tcg' });
    expect(accelerator).toEqual({
      name: 'tcg',
      reason: 'TCG (translation), because the configuration or TSKATA_ACCEL asks for it',
    });
  });

  it('is decided anew when the module comes or goes, and kept otherwise', async () => {
    const runRoot = join(tskata.directory, 'kept');
    mkdirSync(runRoot);
    const choose = async () => (await probeHost({ runRoot })).accelerator;
    const first = await choose();
    expect(first.name).toBe('kvm');
    // A second trial would have another time in its words.
    expect(await choose()).toEqual(first);
    await host('rmmod', 'kvm_amd');
    expect((await choose()).name).toBe('tcg');
    await host('modprobe', 'kvm_amd');
    expect((await choose()).name).toBe('kvm');
  });

  it('is TCG for a user who may not open /dev/kvm; doctor says what to join', async () => {
    chmodSync('/dev/kvm', 0o600);
    const directory = mkdtempSync(join(tmpdir(), 'nobody-'));
    await host('chown', '65534:65534', directory);
    const words = ['--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all'];
    // Wherever the checkout is, and whoever may look into it.
    const programs = join(directory, 'build');
    mkdirSync(programs);
    await host('mount', '--bind', join(import.meta.dirname, '../../../build'), programs);
    const program = join(programs, 'bin/tskata');
    const roots = [`TSKATA_RUN_ROOT=${directory}/run`, `TSKATA_LIB_ROOT=${directory}/lib`];
    const line = ['setpriv', ...words, 'env', ...roots, program, 'doctor', '--json'];
    // The user is another problem, so that doctor's status is 1.
    const output = await host('sh', '-c', '"$@" || [ $? = 1 ]', 'sh', ...line);
    await host('umount', programs);
    rmSync(directory, { recursive: true });
    const report = JSON.parse(output) as Report;
    expect(report).toMatchObject({ ok: false, accelerator: 'tcg' });
    expect(report.reason).toContain('/dev/kvm may not be opened');
    expect(check(report, '/dev/kvm')).toMatchObject({
      state: 'note',
      cure: 'run as root, or join the group of /dev/kvm',
    });
    expect(check(report, 'KVM module')).toMatchObject({ state: 'ok' });
    expect(check(report, 'user').state).toBe('problem');
  });
});
