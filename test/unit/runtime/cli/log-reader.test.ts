/** Reading a log that grows and is rotated meanwhile. */
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LogReader } from '../../../../runtime/cli/log-reader.ts';

const record = (log: string) => `${JSON.stringify({ time: '2026-01-01T00:00:00.000Z', stream: 'stdout', log })}\n`;

describe('a log reader', () => {
  let directory: string;
  let file: string;
  let reader: LogReader;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tskata-log-'));
    file = join(directory, 'log.json');
    reader = new LogReader(file);
  });
  afterEach(async () => {
    await reader.close();
    rmSync(directory, { recursive: true });
  });

  async function read(): Promise<string[]> {
    const found: string[] = [];
    for await (const { log } of reader.read()) found.push(log);
    return found;
  }

  it('waits for a file that is not there yet', async () => {
    expect(await read()).toEqual([]);
    writeFileSync(file, record('a'));
    expect(await read()).toEqual(['a']);
    expect(await read()).toEqual([]);
  });

  it('reads the rotated file first', async () => {
    writeFileSync(`${file}.1`, record('a') + record('b'));
    writeFileSync(file, record('c'));
    expect(await read()).toEqual(['a', 'b', 'c']);
  });

  it('takes a line that is being written when it is whole', async () => {
    const [whole, half] = [record('a'), record('long '.repeat(30_000))];
    writeFileSync(file, whole + half.slice(0, 70_000));
    expect(await read()).toEqual(['a']);
    appendFileSync(file, half.slice(70_000));
    expect(await read()).toEqual(['long '.repeat(30_000)]);
  });

  it('loses nothing by a rotation', async () => {
    writeFileSync(file, record('a'));
    expect(await read()).toEqual(['a']);
    appendFileSync(file, record('b'));
    renameSync(file, `${file}.1`);
    expect(await read()).toEqual(['b']);
    writeFileSync(file, record('c'));
    expect(await read()).toEqual(['c']);
    renameSync(file, `${file}.1`);
    writeFileSync(file, record('d'));
    expect(await read()).toEqual(['d']);
  });

  it('loses only what is gone by two rotations between two looks', async () => {
    writeFileSync(file, record('a'));
    expect(await read()).toEqual(['a']);
    appendFileSync(file, record('b'));
    renameSync(file, `${file}.1`);
    writeFileSync(file, record('c'));
    renameSync(file, `${file}.1`);
    writeFileSync(file, record('d'));
    expect(await read()).toEqual(['b', 'c', 'd']);
    expect(await read()).toEqual([]);
  });

  it('skips what a crash cut short', async () => {
    writeFileSync(file, `${record('a').slice(0, 20)}\n${record('b')}`);
    expect(await read()).toEqual(['b']);
  });
});
