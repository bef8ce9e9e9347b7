/** Feeds a saved device state to a QEMU that waits for one, and lets the machine run. Knows no files. */
import type { Machine } from './machine-handle.ts';
import type { QmpClient } from './qmp/client.ts';
import { own } from './qmp/decoder.ts';
import { MIGRATION_CAPABILITIES } from './save.ts';

/** Loads from QEMU's own descriptor `fd`, then continues. The caller sets the deadline. */
export async function continueSaved(machine: Machine, qmp: QmpClient, fd: number): Promise<void> {
  await qmp.execute('migrate-set-capabilities', MIGRATION_CAPABILITIES);
  const loaded = new Promise<void>((resolve, reject) => {
    machine.onMigration = (data) => {
      const status = own(data, 'status');
      if (status === 'completed') resolve();
      else if (status === 'failed') reject(new Error('QEMU could not load the device state'));
    };
  });
  loaded.catch(() => undefined);
  await qmp.execute('migrate-incoming', { uri: `fd:${fd}` });
  await loaded;
  await machine.resume();
}
