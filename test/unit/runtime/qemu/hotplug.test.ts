/** Disks and cards that come and go, against a monitor that is a list, and a guest that takes its time. */
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Hotplug, type HotplugResources } from '../../../../runtime/qemu/hotplug.ts';

const MAC = '02:00:00:00:00:01';
const image = join(tmpdir(), 'hotplug-disk.img');
const disk = { slot: 0, path: image, readOnly: true };

let commands: string[];
let refusal: Error | undefined;
/** What the clock fires next. */
let alarms: (() => void)[];
let hotplug: Hotplug;

const flush = () => new Promise((resolve) => setImmediate(resolve));
const gone = (device: string) => hotplug.onEvent('DEVICE_DELETED', { device });

beforeEach(() => {
  writeFileSync(image, '');
  commands = [];
  refusal = undefined;
  alarms = [];
  const parts = {
    config: { vcpus: 1, disks: [], shares: [], nics: [] },
    layout: 'bridge',
    qmp: {
      execute: (command: string) => {
        if (refusal !== undefined) return Promise.reject(refusal);
        commands.push(command);
        return Promise.resolve({});
      },
    },
    host: { addDescriptor: () => Promise.resolve(), addTap: () => Promise.resolve() },
    clock: {
      now: () => 0,
      timer: (_ms: number, fire: () => void) => {
        alarms.push(fire);
        return () => alarms.splice(alarms.indexOf(fire), 1);
      },
    },
    vhostNet: false,
    hostDevices: new Set<string>(),
  };
  hotplug = new Hotplug(parts as unknown as HotplugResources & { hostDevices: Set<string> });
});

afterEach(() => rmSync(image));

test('a disk leaves its slot when the guest has let go of it', async () => {
  await hotplug.attachDisk(disk);
  commands = [];
  const leaving = hotplug.detachDisk(0);
  await flush();
  expect(commands).toEqual(['device_del']);
  expect(hotplug.hasDisk(0)).toBe(true);
  gone('disk0');
  await leaving;
  expect(commands).toEqual(['device_del', 'blockdev-del', 'blockdev-del', 'remove-fd']);
  expect(hotplug.hasDisk(0)).toBe(false);
  expect(alarms).toEqual([]);
});

test('a guest that takes longer than the deadline costs an error, and not the slot', async () => {
  await hotplug.attachDisk(disk);
  const leaving = hotplug.detachDisk(0);
  await flush();
  alarms[0]?.();
  await expect(leaving).rejects.toThrow('detach disk from slot 0: the guest did not let go of it within 10000 ms');
  expect(hotplug.hasDisk(0)).toBe(true);
  await expect(hotplug.attachDisk(disk)).rejects.toThrow('slot 0 is taken');
  await expect(hotplug.detachDisk(0)).rejects.toThrow('has been asked before');
  commands = [];
  gone('disk0');
  await flush();
  expect(commands).toEqual(['blockdev-del', 'blockdev-del', 'remove-fd']);
  expect(hotplug.hasDisk(0)).toBe(false);
  await hotplug.attachDisk(disk);
});

test('a refused command leaves the disk where it is, and can be given again', async () => {
  await hotplug.attachDisk(disk);
  refusal = new Error('the device is busy');
  await expect(hotplug.detachDisk(0)).rejects.toThrow('the device is busy');
  refusal = undefined;
  const leaving = hotplug.detachDisk(0);
  await flush();
  gone('disk0');
  await leaving;
  expect(hotplug.hasDisk(0)).toBe(false);
});

test('a card that leaves late gives its place back late', async () => {
  const card = { mac: MAC, backend: { type: 'tap', tap: 'tsk0' } } as const;
  await hotplug.attachNic(card);
  const leaving = hotplug.detachNic(MAC);
  await flush();
  alarms[0]?.();
  await expect(leaving).rejects.toThrow('did not let go of it');
  commands = [];
  gone('nic0');
  await flush();
  expect(commands).toEqual(['netdev_del']);
  await expect(hotplug.detachNic(MAC)).rejects.toThrow('there is none');
});
