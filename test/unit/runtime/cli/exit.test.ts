/** Which failures of a start are the program's. */
import { describe, expect, it } from 'vitest';
import { Code, TskataError } from '../../../../agent/protocol/errors.ts';
import { startFailureStatus } from '../../../../runtime/cli/exit.ts';

describe('the status of a failed start', () => {
  it.each([
    ['exec: "sh": executable file not found in $PATH', 127],
    ['start container a: exec: "/bin/sh": no such file or directory', 127],
    ['exec: "/etc/passwd": permission denied', 126],
    ['exec: "/etc": is a directory', 126],
    ['exec: "/bin/x": exec format error', 126],
    ['share /none with the guest - there is no such file or directory - create it first', 125],
    ['mount /x: permission denied', 125],
    ['boot the virtual machine: start VM: not a directory', 125],
  ])('%s', (message, status) => {
    expect(startFailureStatus(new TskataError(Code.Unknown, message))).toBe(status);
  });
});
