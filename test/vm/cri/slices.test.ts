/** Parents in the form of systemd: all that a machine costs the host is in its scope below the slices, and nothing after its end. */
import { existsSync, mkdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findHierarchies } from '../../../runtime/helper/hierarchies.ts';
import { Containerd } from '../../helpers/containerd.ts';
import { Pod } from '../../helpers/cri/pod.ts';
import { CtrPods } from '../../helpers/ctr-pods.ts';
import { eventually } from '../../helpers/tskata.ts';

const GONE_MS = 20_000;
const SLICE = `tskatatest-${process.pid}.slice`;
const PARENT = `/tskatatest.slice/${SLICE}`;
const PROGRAMS = ['qemu-system-x86_64', 'virtiofsd', 'tskata-helper', 'containerd-shim-tskata-v2'];

let containerd: Containerd;
let mounts: readonly string[];

beforeAll(async () => {
  const found = findHierarchies(readFileSync('/proc/self/mountinfo', 'utf8'));
  if (found === undefined) throw new Error('this host has no cgroups');
  mounts = [...new Set(found.version === 2 ? [found.mount] : found.mounts.values())];
  // As kubelet has made them.
  for (const mount of mounts) mkdirSync(join(mount, PARENT), { recursive: true });
  containerd = await Containerd.start();
});

afterAll(async () => {
  await containerd?.dispose();
  for (const mount of mounts) {
    rmdirSync(join(mount, PARENT));
    rmdirSync(join(mount, 'tskatatest.slice'));
  }
});

/** Programs in a scope, by hierarchy. */
function programsIn(scope: string): string[][] {
  return mounts.map((mount) => processesBelow(join(mount, PARENT, scope)).map(programOf));
}

function processesBelow(group: string): string[] {
  const leaf = join(group, 'main/cgroup.procs');
  const file = existsSync(leaf) ? leaf : join(group, 'cgroup.procs');
  return readFileSync(file, 'utf8').trim().split('\n');
}

function programOf(pid: string): string {
  return (readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0] ?? '').replace(/.*\//, '');
}

async function gone(scope: string): Promise<void> {
  const isGone = (): boolean => mounts.every((mount) => !existsSync(join(mount, PARENT, scope)));
  await eventually(isGone, GONE_MS, `the scope ${scope} is gone`);
}

test('of a pod by CRI', async () => {
  const pod = await Pod.run(containerd, 'tskata', { linux: { cgroupParent: PARENT } });
  const scope = `cri-containerd-${pod.id}.scope`;
  try {
    for (const names of programsIn(scope)) expect(names).toEqual(expect.arrayContaining(PROGRAMS));
  } finally {
    await pod.remove();
  }
  await gone(scope);
});

test('of a container by ctr, and of one that joins its machine', async () => {
  const pods = new CtrPods(containerd);
  try {
    await pods.sandbox('sliced', ['--cgroup', `${SLICE}:ctr:sliced`]);
    await pods.container('sliced', 'joined', 'sleep', '1000');
    for (const names of programsIn('ctr-sliced.scope')) expect(names).toEqual(expect.arrayContaining(PROGRAMS));
  } finally {
    for (const id of ['joined', 'sliced']) await pods.remove(id);
  }
  await gone('ctr-sliced.scope');
});
