/** One pod through containerd, under KVM and with cgroup v2 only: as kubelet would have it made, used and removed. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BUSYBOX_IMAGE } from '../../helpers/containerd/images.ts';
import { Containerd } from '../../helpers/containerd.ts';
import { beInKvmHost, HOOK_MS } from './host.ts';

const CALL = { timeoutMs: HOOK_MS };

describe('a pod of containerd', () => {
  let containerd: Containerd;
  let podSandboxId: string;
  let containerId: string;

  beforeAll(async () => {
    beInKvmHost();
    containerd = await Containerd.start();
    const logDirectory = join(containerd.directory, 'logs');
    mkdirSync(logDirectory);
    const metadata = { name: 'pod', uid: 'pod-1', namespace: 'test' };
    const config = { metadata, hostname: 'pod', logDirectory, linux: {} };
    const { runtime } = containerd.cri;
    ({ podSandboxId } = await runtime.runPodSandbox({ config, runtimeHandler: 'tskata' }, CALL));
    const container = {
      metadata: { name: 'main' },
      image: { image: BUSYBOX_IMAGE },
      command: ['sleep', '1000'],
      logPath: 'main.log',
    };
    const created = await runtime.createContainer({ podSandboxId, config: container, sandboxConfig: config }, CALL);
    containerId = created.containerId;
    await runtime.startContainer({ containerId }, CALL);
  }, 2 * HOOK_MS);
  afterAll(() => containerd?.dispose(), HOOK_MS);

  async function shell(script: string): Promise<string> {
    const request = { containerId, cmd: ['sh', '-c', script], timeout: 100n };
    const { stdout, stderr, exitCode } = await containerd.cri.runtime.execSync(request, CALL);
    expect([Buffer.from(stderr).toString(), exitCode]).toEqual(['', 0]);
    return Buffer.from(stdout).toString().trim();
  }

  it('runs in a machine of KVM, with the kernel of the guest', { timeout: HOOK_MS }, async () => {
    expect(await shell('uname -r')).toMatch(/-tskata$/);
    expect(await shell('cat /sys/devices/system/clocksource/clocksource0/current_clocksource')).toBe('kvm-clock');
    expect(await shell('hostname')).toBe('pod');
  });

  it('is what containerd says it is', async () => {
    const { status } = await containerd.cri.runtime.podSandboxStatus({ podSandboxId }, CALL);
    expect(status).toMatchObject({ id: podSandboxId, runtimeHandler: 'tskata' });
    const { stats } = await containerd.cri.runtime.containerStats({ containerId }, CALL);
    expect(stats?.attributes?.id).toBe(containerId);
  });

  it('ends when it is told, and leaves nothing', { timeout: HOOK_MS }, async () => {
    const { runtime } = containerd.cri;
    await runtime.stopPodSandbox({ podSandboxId }, CALL);
    await runtime.removePodSandbox({ podSandboxId }, CALL);
    await containerd.settled();
  });
});
