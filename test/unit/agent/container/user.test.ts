import { expect, test } from 'vitest';
import type { ProcessSpec } from '../../../../agent/container/spec.ts';
import { needsUserFiles, resolveUser, withHome } from '../../../../agent/container/user.ts';

const files = {
  passwd:
    '# comment\nroot:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n\n12:x:77:78::/odd:\nbroken\n',
  group: 'root:x:0:\nstaff:x:50:app,other\naudio:x:29:app\n1000:x:5:\n',
};
const process = (change: Partial<ProcessSpec>): ProcessSpec =>
  ({ uid: 0, gid: 0, additionalGids: [], username: '', env: [], ...change }) as ProcessSpec;
const identity = (username: string, additionalGids: number[] = []) =>
  resolveUser(process({ username, additionalGids }), files).identity;

test('names, numbers and groups, as runc resolves them', () => {
  expect(identity('app')).toEqual({ uid: 1000, gid: 1001, groups: [50, 29] });
  expect(identity('1000')).toEqual({ uid: 1000, gid: 1001, groups: [50, 29] });
  expect(identity('app:staff')).toEqual({ uid: 1000, gid: 50, groups: [] });
  expect(identity('app:1234')).toEqual({ uid: 1000, gid: 1234, groups: [] });
  expect(identity('4321')).toEqual({ uid: 4321, gid: 0, groups: [] });
  expect(identity('4321:4322')).toEqual({ uid: 4321, gid: 4322, groups: [] });
  expect(identity(':staff')).toEqual({ uid: 0, gid: 50, groups: [] });
  expect(identity('12')).toEqual({ uid: 77, gid: 78, groups: [] });
  expect(identity('app', [50, 99])).toEqual({ uid: 1000, gid: 1001, groups: [50, 29, 99] });
});

test('who is not there', () => {
  expect(() => identity('ghost')).toThrow('unable to find user ghost: no matching entries in passwd file');
  expect(() => identity('app:ghosts')).toThrow('unable to find group ghosts: no matching entries in group file');
  expect(() => identity('99999999999')).toThrow('unable to find user');
  expect(() => identity('-1')).toThrow('unable to find user');
});

test('ids without a name, and HOME', () => {
  const resolved = resolveUser(process({ uid: 1000, gid: 9, additionalGids: [3] }), files);
  expect(resolved).toEqual({ identity: { uid: 1000, gid: 9, groups: [3] }, home: '/home/app' });
  expect(resolveUser(process({ uid: 5 }), { passwd: '', group: '' }).home).toBe('/');
  expect(withHome(['A=1'], '/h')).toEqual(['A=1', 'HOME=/h']);
  expect(withHome(['HOME=/x'], '/h')).toEqual(['HOME=/x']);
  expect(needsUserFiles(process({ env: ['HOME=/x'] }))).toBe(false);
  expect(needsUserFiles(process({ env: ['HOME=/x'], username: 'app' }))).toBe(true);
});
