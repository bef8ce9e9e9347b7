/** --security-opt: seccomp=unconfined|FILE and no-new-privileges. */
import { readFileSync } from 'node:fs';
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import type { SeccompRequest } from '../../oci/request.ts';
import { parseJson } from '../../oci/validate.ts';

/** What the options together mean. */
export interface SecurityOptions {
  readonly seccomp: SeccompRequest;
  readonly noNewPrivileges: boolean;
}

/** Reads the options in order; the last of a kind wins. */
export function parseSecurityOptions(flag: string, entries: readonly string[]): SecurityOptions {
  let seccomp: SeccompRequest = { kind: 'default' };
  let noNewPrivileges = false;
  for (const entry of entries) {
    const [, name, value] = /^([a-z-]+)(?:[=:](.*))?$/.exec(entry) ?? [];
    if (name === 'no-new-privileges') noNewPrivileges = value === undefined || value === 'true';
    else if (name === 'seccomp' && value) seccomp = readSeccomp(flag, value);
    else
      throw new TskataError(
        Code.InvalidArgument,
        `${flag} ${entry}: use seccomp=unconfined, seccomp=FILE or no-new-privileges`,
      );
  }
  return { seccomp, noNewPrivileges };
}

function readSeccomp(flag: string, value: string): SeccompRequest {
  if (value === 'unconfined') return { kind: 'unconfined' };
  if (value === 'default' || value === 'builtin') return { kind: 'default' };
  try {
    return { kind: 'file', file: value, profile: parseJson(value, readFileSync(value, 'utf8')) };
  } catch (error) {
    throw new TskataError(Code.InvalidArgument, `${flag} seccomp=${value}: ${(error as Error).message}`);
  }
}
