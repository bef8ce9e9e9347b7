/**
 * A guest under -icount that stands still whenever it has nothing to do, until it is told to go on: what the host sends it
 * meanwhile arrives between two instructions that do not depend on the host's clock. By QEMU's gdb stub
 * (the GDB Remote Serial Protocol).
 */

import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import type { Channel } from '../../agent/protocol/channel.ts';

/** For QEMU to hand on what was sent, and for the host to answer what has come. */
const SETTLE_MS = 10;
/** The processor's HLT is in this function of the kernel. */
const IDLE = 'arch_cpu_idle';

/** Address of the kernel's idle function, from the text of its System.map. */
export function idleAddress(systemMap: string): string {
  const address = new RegExp(`^([0-9a-f]+) [Tt] ${IDLE}$`, 'm').exec(systemMap)?.[1];
  if (address === undefined) throw new Error(`System.map: no symbol ${IDLE}`);
  return address;
}

export class SteppedGuest {
  readonly #stub: Duplex;
  readonly #breakpoint: string;
  #received = '';
  #isIdle = false;
  #isFree = false;
  readonly #held: (() => void)[] = [];

  /** `stub`: the other end of the gdb stub's character device; the machine was started stopped. */
  constructor(stub: Duplex, address: string) {
    this.#stub = stub;
    this.#breakpoint = `1,${address},1`;
    stub.on('data', (bytes: Buffer) => {
      this.#received += bytes.toString('latin1');
    });
  }

  /** The channel, what is written to it being held while the guest runs. */
  hold(channel: Channel): Channel {
    const write = (bytes: Uint8Array): boolean => {
      const copy = bytes.slice();
      this.#held.push(() => channel.write(copy));
      return true;
    };
    return new Proxy(channel, {
      get: (target, key) => {
        if (key === 'write') return this.#isFree ? target.write.bind(target) : write;
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === 'function' && !String(key).startsWith('on') ? value.bind(target) : value;
      },
      set: (target, key, value) => Reflect.set(target, key, value, target),
    });
  }

  /** Hands on what is held, lets the guest run until it has nothing to do, and takes what it has said. */
  async toIdle(): Promise<void> {
    for (const send of this.#held.splice(0)) {
      send();
      await setTimeout(SETTLE_MS);
    }
    if (this.#isIdle) {
      // Off the breakpoint, or it would be met again at once.
      await this.#ask(`z${this.#breakpoint}`);
      await this.#ask('s');
    }
    await this.#ask(`Z${this.#breakpoint}`);
    await this.#ask('c');
    this.#isIdle = true;
    await setTimeout(SETTLE_MS);
  }

  /** Lets it run for good. */
  async release(): Promise<void> {
    this.#isFree = true;
    for (const send of this.#held.splice(0)) send();
    await this.#ask(`z${this.#breakpoint}`);
    this.#stub.write(packet('D'));
  }

  /** Sends a packet, and returns the answer; to `c` and `s` that is the reason of the next stop. */
  async #ask(text: string): Promise<string> {
    this.#stub.write(packet(text));
    for (;;) {
      const match = /\$([^#]*)#[0-9a-f]{2}/.exec(this.#received);
      if (match?.[1] !== undefined) {
        this.#received = this.#received.slice(match.index + match[0].length);
        this.#stub.write('+');
        if (/^E|^$/.test(match[1])) throw new Error(`gdb stub: ${text} was answered with '${match[1]}'`);
        return match[1];
      }
      await once(this.#stub, 'data');
    }
  }
}

function packet(text: string): string {
  const sum = Buffer.from(text).reduce((total, byte) => (total + byte) & 0xff, 0);
  return `$${text}#${sum.toString(16).padStart(2, '0')}`;
}
