/** The agent, PID 1 of the guest, dies under a running container: what `run` says, how soon, and what is left. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { buildMortalInitrd, DEATH_BY_EXIT, DEATH_BY_FAULT } from '../helpers/mortal-agent.ts';
import { copyBuild } from '../helpers/own-build.ts';
import { ending, Tskata, watchOutput } from '../helpers/tskata.ts';

/** From the death of PID 1 to the end of `run`, on a loaded machine. */
const DEADLINE_MS = 15_000;

describe('an agent that dies', () => {
  let build: string;
  let tskata: Tskata;

  beforeAll(async () => {
    const place = new Tskata();
    build = join(place.directory, 'build');
    copyBuild(build);
    await buildMortalInitrd(join(build, 'lib/tskata-agent'), join(build, 'lib/guest/initrd.img'));
    tskata = new Tskata(build);
    await tskata.ok('load', '--builtin', 'busybox');
  });
  afterEach(() => expect(tskata.leaks()).toEqual([]));
  afterAll(() => {
    tskata.dispose();
    rmSync(join(build, '..'), { recursive: true });
  });

  it.each([
    ['by a fault in its code', DEATH_BY_FAULT, '0000000b', 'tskata-agent: ready'],
    ['by an exit', DEATH_BY_EXIT, '00000300', 'last words'],
    // Lines of programs go through a thread of the guest's kernel, which a panic can overtake on a busy machine.
  ])('%s takes the machine with it, and is named', { retry: 2 }, async (_, swappiness, exitcode, lastLine) => {
    const script = `echo up; echo ${swappiness} > /proc/sys/vm/swappiness; sleep 1000`;
    const child = tskata.start(['run', '--rm', '--privileged', '--network', 'none', 'busybox', 'sh', '-c', script]);
    const ended = ending(child);
    const output = watchOutput(child);
    await output.until(/up/);
    const began = performance.now();
    expect(await ended).toBe(137);
    expect(performance.now() - began).toBeLessThan(DEADLINE_MS);
    const text = output.text();
    expect(text).toMatch(/tskata: the virtual machine ended \(panicked\): the agent \(PID 1 of the guest\) died: /);
    expect(text).toContain(`Attempted to kill init! exitcode=0x${exitcode}`);
    expect(text).toMatch(/last lines of the guest console \(untrusted\): .*Kernel panic[^|]*$/);
    expect(text).toContain(lastLine);
  });
});
