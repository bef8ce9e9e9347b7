import { describe, expect, test } from 'vitest';
import { consoleLog } from '../../../../agent/boot/log.ts';
import { Uevents } from '../../../../agent/boot/uevents.ts';
import { isPciPath } from '../../../../agent/storage/disks.ts';
import { E } from '../../../../agent/sys/errno.ts';
import { RecorderSys } from '../../../../agent/sys/recorder.ts';
import { ManualLoop } from '../../../helpers/manual-loop.ts';

describe('the console', () => {
  test('gets bounded lines without control characters, and not too many', () => {
    const sys = new RecorderSys();
    const loop = new ManualLoop();
    sys.answerAlways('openat', 3);
    const lines: string[] = [];
    sys.onWrite = (_fd, bytes) => lines.push(Buffer.from(bytes).toString());
    const log = consoleLog(sys, loop);
    log('hello', { id: 'a\u001b[31m\n', n: 5, long: 'x'.repeat(1000) });
    expect(lines[0]).toMatch(/^tskata-agent: hello id="a\?\[31m\?" n="5" long="x+\n$/);
    expect(lines[0]?.length).toBeLessThanOrEqual(513);
    for (let line = 0; line < 100; line += 1) log('flood');
    expect(lines).toHaveLength(50);
    loop.advance(10_001);
    log('after');
    expect(lines[50]).toBe('tskata-agent: after dropped_lines=51\n');
  });

  test('that is not there is no error', () => {
    const sys = new RecorderSys();
    sys.answerAlways('openat', -E.ENODEV);
    consoleLog(sys, new ManualLoop())('hello');
    expect(sys.names).not.toContain('write');
  });
});

describe('device events', () => {
  const make = () => {
    const sys = new RecorderSys();
    const loop = new ManualLoop();
    sys.answerAlways('socket', 9);
    sys.onRead = () => -E.EAGAIN;
    return { loop, uevents: new Uevents(sys, loop) };
  };

  test('make it worth looking again', async () => {
    const { loop, uevents } = make();
    let there = false;
    const waiting = uevents.waitFor(() => (there ? 'disk' : undefined), 1000);
    loop.fire(9);
    there = true;
    loop.fire(9);
    expect(await waiting).toBe('disk');
    expect(loop.timerCount).toBe(0);
    expect(await uevents.waitFor(() => 1, 1000)).toBe(1);
  });

  test('that do not come end at the deadline; a failing look rejects', async () => {
    const { loop, uevents } = make();
    const waiting = uevents.waitFor(() => undefined, 1000);
    loop.advance(1001);
    expect(await waiting).toBeUndefined();
    let fail = false;
    const failing = uevents.waitFor(() => {
      if (fail) throw new Error('sysfs');
      return undefined;
    }, 1000);
    fail = true;
    loop.fire(9);
    await expect(failing).rejects.toThrow('sysfs');
  });
});

test('PCI paths', () => {
  for (const path of ['05.0', '05.0/00.0', '1f.7/00.0/1e.1']) expect(isPciPath(path)).toBe(true);
  for (const path of ['', '5.0', '05.8', '../05.0', '05.0/', '05.0/00.0/00.0/00.0/00.0', '05.0\n'])
    expect(isPciPath(path)).toBe(false);
});
