/**
 * Network namespaces of a test: one that plays the host, and one for each pod, so that nothing of a test's network is
 * ever on this machine's own.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';

/** Runs a program to its end and returns what it printed; its errors are the test's. */
function command(program: string, ...args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 30_000 });
}

export class NetworkNamespace {
  readonly name: string;

  constructor(kind: string) {
    this.name = `tsk-${kind}-${randomBytes(4).toString('hex')}`;
    command('ip', 'netns', 'add', this.name);
    this.ip('link set lo up');
  }

  /** As the OCI configuration names it. */
  get path(): string {
    return `/run/netns/${this.name}`;
  }

  /** ip(8) in the namespace; its JSON output when it has one. */
  ip(line: string): unknown {
    const output = command('ip', '-json', '-n', this.name, ...line.split(' '));
    return output.trim() === '' ? undefined : JSON.parse(output);
  }

  /** A program in the namespace. */
  run(program: string, ...args: readonly string[]): string {
    return command('ip', 'netns', 'exec', this.name, program, ...args);
  }

  /** Interfaces that are not the loopback. */
  interfaces(): string[] {
    const links = this.ip('link show') as { ifname: string }[];
    return links.map(({ ifname }) => ifname).filter((name) => name !== 'lo');
  }

  /** Ingress disciplines of its interfaces. */
  ingress(): string[] {
    const output = command('tc', '-json', '-n', this.name, 'qdisc', 'show');
    return (JSON.parse(output) as { kind: string; dev: string }[])
      .filter(({ kind }) => kind === 'ingress' || kind === 'clsact')
      .map(({ dev }) => dev);
  }

  /** Sockets that listen for TCP. */
  listeners(): string[] {
    return this.run('ss', '-Hltn')
      .split('\n')
      .filter((line) => line !== '');
  }

  dispose(): void {
    command('ip', 'netns', 'del', this.name);
  }
}
