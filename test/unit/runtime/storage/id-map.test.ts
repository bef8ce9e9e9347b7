/** Mounts with mapped ids: which mapping is asked for, and what is no mapping. */
import { describe, expect, test } from 'vitest';
import { idMapOf } from '../../../../runtime/storage/id-map.ts';
import { planMounts } from '../../../../runtime/storage/mounts.ts';
import { hostSource } from '../../../helpers/host-source.ts';

const range = (containerID: number, hostID: number, size: number) => ({ containerID, hostID, size });
const bind = { destination: '/x', type: 'bind', source: '/srv' };
const users = [range(0, 1000, 10)];
const groups = [range(0, 2000, 10)];

describe('the mapping of a mount', () => {
  test('is none unless it is asked for', () => {
    expect(idMapOf({ ...bind, options: ['rbind'] }, 'm', { uidMappings: users, gidMappings: groups })).toBeUndefined();
  });

  test('is its own, for itself alone or for what is below as well', () => {
    const own = { ...bind, uidMappings: users, gidMappings: groups };
    const uidMappings = [{ containerId: 0, hostId: 1000, size: 10 }];
    const gidMappings = [{ containerId: 0, hostId: 2000, size: 10 }];
    expect(idMapOf(own, 'm', {})).toEqual({ recursive: false, uidMappings, gidMappings });
    expect(idMapOf({ ...own, options: ['rbind', 'idmap'] }, 'm', {})?.recursive).toBe(false);
    expect(idMapOf({ ...own, options: ['rbind', 'ridmap'] }, 'm', {})?.recursive).toBe(true);
  });

  test("is the container's where it has none", () => {
    const container = { uidMappings: users, gidMappings: groups };
    const mapped = idMapOf({ ...bind, options: ['rbind', 'ridmap'] }, 'm', container);
    expect(mapped?.gidMappings).toEqual([{ containerId: 0, hostId: 2000, size: 10 }]);
  });

  test.each([
    [{ options: ['idmap'] }, 'm.uidMappings: a mount with mapped ids needs mappings of users and groups'],
    [{ uidMappings: users }, 'm.gidMappings: a mount with mapped ids needs mappings'],
    [{ options: ['idmap', 'ridmap'], uidMappings: users, gidMappings: groups }, 'm.options: idmap and ridmap exclude'],
    [{ uidMappings: [range(0, 1, 0)], gidMappings: groups }, 'm.uidMappings[0]: is not a range of ids'],
    [{ uidMappings: [range(0, 2 ** 32 - 2, 2)], gidMappings: groups }, 'm.uidMappings[0]: is not a range of ids'],
    [{ uidMappings: [range(0, 10, 5), range(4, 20, 5)], gidMappings: groups }, 'm.uidMappings[1]: overlaps'],
    [{ uidMappings: users, gidMappings: [range(0, 10, 5), range(9, 14, 5)] }, 'm.gidMappings[1]: overlaps'],
    [{ uidMappings: Array(341).fill(range(0, 1, 1)), gidMappings: groups }, 'm.uidMappings: 341 ranges'],
  ])('is refused with its path: %#', (more, message) => {
    expect(() => idMapOf({ ...bind, ...more }, 'm', {})).toThrow(message);
  });
});

describe('a plan', () => {
  const sources = new Map([['/srv', hostSource('/srv')]]);

  test('tells the host, and not the guest', () => {
    const mount = { ...bind, options: ['rbind', 'idmap'], uidMappings: users, gidMappings: groups };
    const [planned] = planMounts([mount], '', sources);
    expect(planned?.options).toEqual(['rbind']);
    expect(planned).toMatchObject({ storage: { share: { idMap: { recursive: false } } } });
  });

  test('has none for what the guest makes itself', () => {
    const mount = { destination: '/t', type: 'tmpfs', options: ['idmap'], uidMappings: users, gidMappings: groups };
    expect(() => planMounts([mount], '', sources)).toThrow('mounts[0]: its ids cannot be mapped: a new tmpfs');
  });
});
