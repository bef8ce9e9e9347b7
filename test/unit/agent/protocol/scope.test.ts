/** Lifetimes, errors, cancellation, and the generated files being those of their sources. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { CancelSource } from '../../../../agent/protocol/cancel.ts';
import { assert, boundedText, Code, codeOfNumber, TskataError } from '../../../../agent/protocol/errors.ts';
import { Scope } from '../../../../agent/protocol/scope.ts';

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a scope', () => {
  it('undoes in reverse, each after the one before, once', async () => {
    const scope = new Scope();
    const seen: string[] = [];
    scope.add(() => {
      seen.push('first');
    });
    scope.add(async () => {
      await tick();
      seen.push('second');
    });
    const [early, late] = await Promise.all([scope.close(), scope.close()]);
    expect(seen).toEqual(['second', 'first']);
    expect(early).toBe(late);
    await scope.close();
    expect(seen.length).toBe(2);
  });

  it('goes on after an undo that fails, and tells of it', async () => {
    const scope = new Scope();
    let undone = 0;
    scope.add(() => {
      undone++;
    });
    scope.add(() => Promise.reject(Object.assign(new Error('umount /x'), { code: 'EBUSY' })));
    scope.add(() => {
      throw new TskataError(Code.NotFound, 'gone');
    });
    expect((await scope.close()).map((error) => [error.code, error.message])).toEqual([
      [Code.NotFound, 'gone'],
      [Code.FailedPrecondition, 'umount /x'],
    ]);
    expect(undone).toBe(1);
  });

  it('hands its things on', async () => {
    const [inner, outer] = [new Scope(), new Scope()];
    let undone = 0;
    inner.add(() => {
      undone++;
    });
    for (const undo of inner.release()) outer.add(undo);
    await inner.close();
    expect([undone, inner.closed, outer.closed]).toEqual([0, true, false]);
    await outer.close();
    expect(undone).toBe(1);
  });

  it('undoes at once what comes too late', async () => {
    const scope = new Scope();
    await scope.close();
    let undone = 0;
    scope.add(() => {
      undone++;
      throw new Error('late');
    });
    expect((await scope.close()).map((error) => error.message)).toEqual(['late']);
    expect(undone).toBe(1);
  });
});

describe('an error', () => {
  it('is made of whatever was caught', () => {
    const own = new TskataError(Code.Aborted, 'x');
    expect(TskataError.from(own)).toBe(own);
    expect(TskataError.from(Object.assign(new Error('m'), { code: 'ENOSPC' })).code).toBe(Code.ResourceExhausted);
    expect(TskataError.from(Object.assign(new Error('m'), { code: 'EWHATEVER' })).code).toBe(Code.Unknown);
    expect(TskataError.from(Object.assign(new Error('m'), { rpcCode: 5, code: 'EPERM' })).code).toBe(Code.NotFound);
    expect(TskataError.from(Object.assign(new Error('m'), { rpcCode: 99 })).code).toBe(Code.Unknown);
    expect(TskataError.from(new DOMException('m', 'AbortError')).code).toBe(Code.Canceled);
    expect(TskataError.from(undefined)).toMatchObject({ code: Code.Unknown, message: 'undefined' });
    expect(TskataError.from(own).reason).toBeUndefined();
  });

  it('has a code of the canonical ones, whatever a peer says', () => {
    expect([0, 5, 16].map(codeOfNumber)).toEqual([0, 5, 16]);
    expect([-1, 17, 1.5, Number.NaN].map(codeOfNumber)).toEqual([2, 2, 2, 2]);
  });

  it('shows a peer’s text without control characters, and not too much of it', () => {
    expect(boundedText('a\u0000\u001b[31m\u007f\u0085b\nc€😀')).toBe('a??[31m??b\nc€😀');
    expect(boundedText('x'.repeat(1e6)).length).toBeLessThan(2100);
  });

  it('stops at a mistake of ours', () => {
    expect(() => assert(false, 'two is one')).toThrow('assertion failed: two is one');
    expect(() => assert(true, '')).not.toThrow();
  });
});

describe('cancellation', () => {
  it('tells each listener once, and none that comes later or has left', () => {
    const source = new CancelSource();
    const seen: string[] = [];
    const left = (): void => void seen.push('left');
    source.addEventListener('abort', () => seen.push('first'));
    source.addEventListener('abort', left);
    source.removeEventListener('abort', left);
    source.abort('why');
    source.abort('again');
    source.addEventListener('abort', () => seen.push('late'));
    expect(seen).toEqual(['first']);
    expect([source.aborted, source.reason]).toEqual([true, 'why']);
  });
});

describe('the generated files', () => {
  it('are what their .proto files say', async () => {
    await promisify(execFile)(process.execPath, [
      join(import.meta.dirname, '../../../../agent/protocol/generate.ts'),
      '--check',
    ]);
  });
});
