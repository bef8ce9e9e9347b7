/** Bytes between host and guest: a GiB in each direction, whole, and what a call takes meanwhile. */
import { createHash } from 'node:crypto';
import { blocks, StreamGuest, sendBlocks } from '../helpers/stream-guest.ts';

const MIB = 1024 * 1024;
const TOTAL_MIB = 1024;
/** What the guest holds in memory and sends again and again. */
const HELD_MIB = 32;

/** One direction. */
export interface StreamMeasure {
  readonly megabytesPerS: number;
  /** 99th percentile. */
  readonly callMs: number;
}

/** Throws when a byte is lost or changed. */
export async function measureStreams(): Promise<{ readonly out: StreamMeasure; readonly in: StreamMeasure }> {
  const guest = await StreamGuest.start();
  try {
    return { out: await measureOut(guest), in: await measureIn(guest) };
  } finally {
    await guest.end();
  }
}

async function measureOut(guest: StreamGuest): Promise<StreamMeasure> {
  const times = TOTAL_MIB / HELD_MIB;
  const script = await guest.run('out', `cat > /dev/shm/held; for i in $(seq ${times}); do cat /dev/shm/held; done`);
  const [received, expected] = [createHash('sha256'), createHash('sha256')];
  const held = [...blocks(HELD_MIB * MIB)];
  for (let time = 0; time < times; time++) for (const block of held) expected.update(block);
  await sendBlocks(script.stdin, HELD_MIB * MIB);
  const output = script.stdout[Symbol.asyncIterator]();
  let piece = await output.next();
  const measure = await timed(guest, async () => {
    for (; piece.done !== true; piece = await output.next()) received.update(piece.value);
  });
  if (received.digest('hex') !== expected.digest('hex'))
    throw new Error('what came out of the guest is not what it sent');
  await script.finish();
  return measure;
}

/** The guest counts only: hashing under emulation would be what is timed. `streams.test.ts` compares a GiB that went both ways. */
async function measureIn(guest: StreamGuest): Promise<StreamMeasure> {
  const script = await guest.run('in', 'dd bs=64k iflag=fullblock of=/dev/null 2>&1');
  let answer = '';
  const measure = await timed(guest, async () => {
    await sendBlocks(script.stdin, TOTAL_MIB * MIB);
    for await (const bytes of script.stdout) answer += Buffer.from(bytes).toString();
  });
  if (!answer.startsWith(`${(TOTAL_MIB * MIB) / 65_536}+0 records in`))
    throw new Error(`the guest did not get all: ${answer}`);
  await script.finish();
  return measure;
}

async function timed(guest: StreamGuest, work: () => Promise<void>): Promise<StreamMeasure> {
  const startedMs = performance.now();
  const callMs = await guest.withCalls(work);
  return { megabytesPerS: (TOTAL_MIB * MIB) / 1e3 / (performance.now() - startedMs), callMs };
}
