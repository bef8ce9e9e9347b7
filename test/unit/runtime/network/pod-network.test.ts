/** A pod's network with a keeper that is a table: what is asked of it and of the guest, in which order, and when. */
import { afterEach, expect, test } from 'vitest';
import { Code, TskataError } from '../../../../agent/protocol/errors.ts';
import { NetworkState } from '../../../../agent/protocol/generated/helper.ts';
import type { Init } from '../../../../agent/protocol/message.ts';
import { Scope } from '../../../../agent/protocol/scope.ts';
import type { Keeper } from '../../../../runtime/helper-client/keeper.ts';
import { silentLogger } from '../../../../runtime/host/log.ts';
import { PodNetwork } from '../../../../runtime/network/pod-network.ts';
import type { NetworkGuest } from '../../../../runtime/sandbox/network.ts';

type Links = NonNullable<Init<NetworkState>['links']>;

const link = (index: number, mac = `02:00:00:00:00:0${index}`) => {
  return { index, name: `eth${index}`, mac, mtu: 1500, flags: 1, type: 1, kind: 'veth' };
};
const network = (links: Links): Init<NetworkState> => ({
  links,
  addresses: links.map(({ index = 0 }) => ({ index, address: `10.0.${index}.2/24`, flags: 0x80 })),
});

/** Plays keeper and guest, and records what they are asked. */
class Table {
  readonly calls: string[] = [];
  state: Init<NetworkState>;
  /** Calls that fail, by their line. */
  readonly failures = new Map<string, Error>();
  #changed = Promise.withResolvers<void>();
  #applied = Promise.withResolvers<void>();
  readonly scope = new Scope();

  constructor(state: Init<NetworkState>) {
    this.state = state;
  }

  readonly keeper = {
    call: {
      openNetwork: ({ path = '' }) => this.#note(`open ${path}`, {}),
      closeNetwork: () => this.#note('close', {}),
      readNetwork: () => Promise.resolve(NetworkState.decode(NetworkState.encode(this.state))),
      waitNetworkChange: async () => {
        this.#applied.resolve();
        await this.#changed.promise;
        this.#changed = Promise.withResolvers();
        return {};
      },
      carryInterface: ({ index = 0 }) => this.#note(`carry ${index}`, { tap: `tsk${index}` }),
      dropInterface: ({ index = 0 }) => this.#note(`drop ${index}`, {}),
    },
    listenLoopback: () => Promise.reject(new TskataError(Code.Unimplemented, 'no such program type')),
  } as unknown as Keeper;

  readonly guest: NetworkGuest = {
    dial: () => Promise.reject(new Error('not in this test')),
    configure: async ({ interfaces = [] }) => {
      await this.#note(`configure ${interfaces.map(({ name }) => name).join(' ')}`, {});
    },
    attachNic: async ({ mac, backend }) => {
      await this.#note(`attach ${mac} ${backend.type === 'tap' ? backend.tap : ''}`, {});
    },
    detachNic: async (mac) => {
      await this.#note(`detach ${mac}`, {});
    },
  };

  async open(): Promise<PodNetwork> {
    const release = (path: string): Promise<void> => this.#note(`release ${path}`, undefined);
    const parts = { keeper: this.keeper, path: '/run/netns/pod', release, log: silentLogger };
    return await PodNetwork.open(parts, this.scope);
  }

  /** The namespace becomes this; what was asked until the next wait. */
  async change(state: Init<NetworkState>): Promise<string[]> {
    this.state = state;
    this.calls.length = 0;
    this.#applied = Promise.withResolvers();
    this.#changed.resolve();
    await this.#applied.promise;
    return this.calls;
  }

  /** Ends as a keeper that was killed. */
  kill(): void {
    const gone = new TskataError(Code.Unavailable, 'the connection has ended');
    this.failures.set('close', gone);
    this.#changed.reject(gone);
  }

  #note<T>(line: string, answer: T): Promise<T> {
    this.calls.push(line);
    const failure = this.failures.get(line);
    return failure === undefined ? Promise.resolve(answer) : Promise.reject(failure);
  }
}

const tables: Table[] = [];

async function connected(links: Links): Promise<Table> {
  const table = new Table(network(links));
  tables.push(table);
  (await table.open()).connect(table.guest);
  return table;
}

afterEach(async () => {
  for (const table of tables.splice(0)) await table.scope.close();
});

test('is opened with a tap for each interface, and given back', async () => {
  const table = new Table(network([link(2), link(3)]));
  const pod = await table.open();
  expect(pod.nics).toEqual([
    { mac: '02:00:00:00:00:02', backend: { type: 'tap', tap: 'tsk2' } },
    { mac: '02:00:00:00:00:03', backend: { type: 'tap', tap: 'tsk3' } },
  ]);
  expect(pod.addresses).toEqual(['10.0.2.2', '10.0.3.2']);
  expect(await table.scope.close()).toEqual([]);
  expect(table.calls).toEqual(['open /run/netns/pod', 'carry 2', 'carry 3', 'close']);
});

test('what fails half way is given back', async () => {
  const table = new Table(network([link(2), link(3)]));
  table.failures.set('carry 3', new TskataError(Code.AlreadyExists, 'taken'));
  await expect(table.open()).rejects.toThrow('taken');
  await table.scope.close();
  expect(table.calls.at(-1)).toBe('close');
});

test('what a killed keeper held is given back without it', async () => {
  const table = await connected([link(2)]);
  table.kill();
  expect(await table.scope.close()).toEqual([]);
  expect(table.calls.slice(-2)).toEqual(['close', 'release /run/netns/pod']);
});

test('a change that means nothing for the guest is not told', async () => {
  const table = await connected([link(2)]);
  expect(await table.change({ ...network([link(2)]), routes: [{ index: 2, table: 255 }] })).toEqual([]);
});

test('an address is told; a card comes and goes', async () => {
  const table = await connected([link(2)]);
  const more = network([link(2)]);
  const address = { index: 2, address: '10.0.2.3/24', flags: 0x80 };
  expect(await table.change({ ...more, addresses: [...(more.addresses ?? []), address] })).toEqual(['configure eth2']);
  expect(await table.change(network([link(2), link(3)]))).toEqual([
    'carry 3',
    'attach 02:00:00:00:00:03 tsk3',
    'configure eth2 eth3',
  ]);
  expect(await table.change(network([link(3)]))).toEqual(['drop 2', 'detach 02:00:00:00:00:02', 'configure eth3']);
});

test('a card with another hardware address takes the place of the old one', async () => {
  const table = await connected([link(2)]);
  expect(await table.change(network([link(2, '02:00:00:00:00:99')]))).toEqual([
    'drop 2',
    'detach 02:00:00:00:00:02',
    'carry 2',
    'attach 02:00:00:00:00:99 tsk2',
    'configure eth2',
  ]);
});

test('a card that the machine cannot have is tried once, and the rest goes on', async () => {
  const table = await connected([link(2)]);
  table.failures.set('attach 02:00:00:00:00:03 tsk3', new TskataError(Code.FailedPrecondition, 'no hotplug'));
  expect(await table.change(network([link(2), link(3)]))).toEqual([
    'carry 3',
    'attach 02:00:00:00:00:03 tsk3',
    'drop 3',
  ]);
  expect(await table.change(network([link(2), link(3), link(4)]))).toEqual([
    'carry 4',
    'attach 02:00:00:00:00:04 tsk4',
    'configure eth2 eth4',
  ]);
});

test('what the guest did not take is told again a little later, and with the next change', async () => {
  const table = await connected([link(2)]);
  table.failures.set('configure eth2', new TskataError(Code.Unknown, 'add route: ENETUNREACH'));
  const more = network([link(2)]);
  const changed = { ...more, neighbors: [{ index: 2, address: '10.0.2.9', mac: '02:00:00:00:00:77' }] };
  expect(await table.change(changed)).toEqual(['configure eth2', 'configure eth2', 'configure eth2']);
  setTimeout(() => table.failures.clear(), 500);
  expect(await table.change(changed)).toEqual(['configure eth2', 'configure eth2']);
  table.failures.set('configure eth2', new TskataError(Code.Unknown, 'add route: ENETUNREACH'));
  await table.change(more);
  table.failures.clear();
  expect(await table.change(changed)).toEqual(['configure eth2']);
  expect(await table.change(changed)).toEqual([]);
});

test('a machine that does not let go of a card is no obstacle', async () => {
  const table = await connected([link(2), link(3)]);
  table.failures.set('detach 02:00:00:00:00:03', new TskataError(Code.Internal, 'the guest did not let go of it'));
  expect(await table.change(network([link(2)]))).toEqual(['drop 3', 'detach 02:00:00:00:00:03', 'configure eth2']);
});
