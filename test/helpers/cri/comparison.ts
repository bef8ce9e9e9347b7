/**
 * What was seen of the same scenario on two runtimes. Everything must be equal but what a table lists, and what the
 * table lists must really differ: an entry that is not true any more fails too.
 */
import type { Handler } from './pod.ts';

/** A listed difference. */
export interface Difference {
  readonly runc: string | RegExp;
  readonly tskata: string | RegExp;
  /** Why it is right that they differ. */
  readonly why: string;
}

export class Comparison {
  readonly #seen: Readonly<Record<Handler, Map<string, string>>> = { runc: new Map(), tskata: new Map() };

  /** Notes what was seen on one of them. A name is used once per runtime. */
  see(handler: Handler, name: string, value: string | number | boolean): void {
    const seen = this.#seen[handler];
    if (seen.has(name)) throw new Error(`'${name}' was seen twice on ${handler}`);
    seen.set(name, String(value));
  }

  /** One line for each thing that is not as it should be. */
  problems(differences: Readonly<Record<string, Difference>>): string[] {
    const { runc, tskata } = this.#seen;
    const names = new Set([...runc.keys(), ...tskata.keys(), ...Object.keys(differences)]);
    return [...names].flatMap((name) => {
      const left = runc.get(name);
      const right = tskata.get(name);
      const difference = Object.hasOwn(differences, name) ? differences[name] : undefined;
      const shown = `${name}:\n  runc:   ${JSON.stringify(left)}\n  tskata: ${JSON.stringify(right)}`;
      if (left === undefined || right === undefined) return [`not seen on both: ${shown}`];
      if (difference === undefined) return left === right ? [] : [`not equal: ${shown}`];
      const held = matches(left, difference.runc) && matches(right, difference.tskata) && left !== right;
      return held ? [] : [`not as listed: ${shown}`];
    });
  }
}

function matches(text: string, wanted: string | RegExp): boolean {
  return typeof wanted === 'string' ? text === wanted : wanted.test(text);
}
