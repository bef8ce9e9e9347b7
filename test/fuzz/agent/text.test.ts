/** Text that comes from images, the kernel or the host never throws anything but a refusal, and never hangs. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseOwnDevices } from '../../../agent/container/cgroup/device-program.ts';
import { parseFlatKeyed } from '../../../agent/container/cgroup/stats.ts';
import { parseMountOptions } from '../../../agent/container/plan/mount-options.ts';
import { isSysctlKey, sysctlPath } from '../../../agent/container/plan/sysctl.ts';
import type { ProcessSpec } from '../../../agent/container/spec.ts';
import { resolveUser, UserError } from '../../../agent/container/user.ts';
import { parseTarget } from '../../../agent/network/dial.ts';
import { parseNetDev } from '../../../agent/network/stats.ts';
import { TskataError } from '../../../agent/protocol/errors.ts';
import { checkRelative } from '../../../agent/service/check.ts';

const SEED = 20_261_120;
const options = { seed: SEED, numRuns: 2000 };
const line = fc.stringMatching(/^[a-z0-9:,#\n -]*$/);

test('user files', () => {
  const property = fc.property(line, line, fc.string(), (passwd, group, username) => {
    const process = { uid: 0, gid: 0, additionalGids: [], username, env: [] } as unknown as ProcessSpec;
    try {
      const { identity } = resolveUser(process, { passwd, group });
      for (const id of [identity.uid, identity.gid, ...identity.groups]) expect(id >= 0 && id < 2 ** 31).toBe(true);
    } catch (error) {
      expect(error).toBeInstanceOf(UserError);
    }
  });
  fc.assert(property, options);
});

test('files of the kernel', () => {
  const property = fc.property(fc.string(), (text) => {
    parseFlatKeyed(text);
    parseOwnDevices(text);
  });
  fc.assert(property, options);
  fc.assert(
    fc.property(
      fc.stringMatching(/^[a-z0-9: \n]*$/),
      (text) => void parseNetDev(text.replace(/[a-z]+ /g, '1 ').replace(/ [a-z]+/g, ' 1')),
    ),
    options,
  );
});

test('mount options keep every word in one place', () => {
  const word = fc.oneof(fc.constantFrom('ro', 'rro', 'rbind', 'rshared', 'noatime', 'tmpcopyup', ''), fc.string());
  const property = fc.property(fc.array(word), (words) => {
    const parsed = parseMountOptions(words, 'tmpfs');
    expect((parsed.attributes.set ?? 0) & (parsed.attributes.clear ?? 0)).toBe(0);
    for (const rest of parsed.data) expect(words).toContain(rest);
  });
  fc.assert(property, options);
});

test('keys and paths never lead out', () => {
  const property = fc.property(fc.string(), (text) => {
    if (isSysctlKey(text)) expect(sysctlPath(text)).not.toMatch(/\/\.\.?(\/|$)|\/\//);
    try {
      expect(`/${checkRelative('p', text)}/`).not.toContain('/../');
    } catch (error) {
      expect(error).toBeInstanceOf(TskataError);
    }
  });
  fc.assert(property, options);
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z./]*$/), (text) => {
      if (isSysctlKey(text)) expect(sysctlPath(text)).not.toMatch(/\/\.\.?(\/|$)/);
    }),
    options,
  );
});

test('addresses to dial', () => {
  const property = fc.property(fc.constantFrom('tcp', 'udp', 'unix', 'x'), fc.string(), (network, address) => {
    try {
      parseTarget(network, address);
    } catch (error) {
      expect(error).toBeInstanceOf(TskataError);
    }
  });
  fc.assert(property, options);
});
