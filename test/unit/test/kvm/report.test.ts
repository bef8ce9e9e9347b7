/** What comes out of the KVM host is cut into events and counted, whatever comes with it. */
import { describe, expect, it } from 'vitest';
import { decodeEvents, encodeEvent, type ReportEvent } from '../../../kvm/report.ts';
import { Tally } from '../../../kvm/tally.ts';

const FILE = 'a.test.ts';

function test(state: 'passed' | 'failed' | 'skipped', words = ''): ReportEvent {
  return { event: 'test', file: FILE, name: `it ${state}`, state, elapsedMs: 1234, words };
}

describe('decodeEvents', () => {
  it('finds events wherever the stream is cut, and hands on what is none', () => {
    const events: ReportEvent[] = [{ event: 'booted' }, { event: 'file', file: FILE }, test('passed', 'ä')];
    const bytes = Buffer.from(`noise\n${events.map(encodeEvent).join('')}rest`);
    for (let step = 1; step < bytes.length; step += 1) {
      const found: ReportEvent[] = [];
      const noise: string[] = [];
      const take = decodeEvents(
        (event) => found.push(event),
        (line) => noise.push(line),
      );
      for (let at = 0; at < bytes.length; at += step) take(bytes.subarray(at, at + step));
      expect(found).toEqual(events);
      expect(noise).toEqual(['noise']);
    }
  });
});

describe('Tally', () => {
  it('counts, says why, and knows what is open', () => {
    const said: string[] = [];
    const tally = new Tally((line) => said.push(line));
    tally.take({ event: 'file', file: FILE });
    for (const event of [test('passed'), test('failed', 'one\ntwo'), test('skipped', 'no vmx')]) tally.take(event);
    expect(tally.openFile).toBe(FILE);
    expect(tally.tested).toBe(false);
    tally.take({ event: 'file-end', file: FILE, problems: ['a hook failed'] });
    tally.take({ event: 'tested' });
    tally.take({ event: 'end', problems: [] });
    expect(tally.openFile).toBeUndefined();
    expect(tally.tested).toBe(true);
    expect(tally.counts).toEqual({ passed: 1, failed: 2, skipped: 1 });
    expect(said.join('\n')).toContain('      no vmx');
    expect(said.join('\n')).toContain('✗ a hook failed');
  });
});
