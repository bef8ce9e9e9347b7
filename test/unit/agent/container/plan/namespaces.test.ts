import { expect, test } from 'vitest';
import { CLONE_NEWTIME, planNamespaces } from '../../../../../agent/container/plan/namespaces.ts';
import { CLONE } from '../../../../../agent/sys/linux.ts';

test('mount and pid are always made, the rest as the spec says', () => {
  expect(planNamespaces([], false)).toEqual({
    cloneFlags: CLONE.NEWNS | CLONE.NEWPID,
    unshareCgroup: false,
    joinFlags: CLONE.NEWNS | CLONE.NEWPID,
  });
  const all = planNamespaces(['user', 'network', 'ipc', 'uts', 'time', 'cgroup'], false);
  expect(all.unshareCgroup).toBe(true);
  expect(all.cloneFlags & CLONE.NEWCGROUP).toBe(0);
  expect(all.cloneFlags & CLONE_NEWTIME).toBe(CLONE_NEWTIME);
  expect(all.cloneFlags & CLONE.NEWUSER).toBe(CLONE.NEWUSER);
});

test('a shared pid namespace is joined, unless the spec wants its own', () => {
  const shared = planNamespaces(['mount'], true);
  expect(shared.cloneFlags & CLONE.NEWPID).toBe(0);
  expect(shared.joinFlags & CLONE.NEWPID).toBe(CLONE.NEWPID);
  expect(planNamespaces(['pid'], true).cloneFlags & CLONE.NEWPID).toBe(CLONE.NEWPID);
});
