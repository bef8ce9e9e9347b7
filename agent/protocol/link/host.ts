/**
 * The host's end of a port: one connection, from its reset to its end. The guest is not trusted: after its
 * acknowledgement every byte must be as prescribed, or the connection ends. It knows no calls and no streams.
 */
import type { Channel, Clock } from '../channel.ts';
import { Code, TskataError } from '../errors.ts';
import { MAX_STALE_BYTES } from '../limits.ts';
import { type Link, RecordSender } from './link.ts';
import {
  encodeAck,
  encodeReset,
  epochOf,
  Finder,
  Kind,
  NONCE_BYTES,
  RECORD_OVERHEAD_BYTES,
  RecordReader,
} from './record.ts';

const nothing = (): void => {};

/** Padding is written in pieces of this size. */
const PAD_PIECE_BYTES = 64 * 1024;

export interface ResetOptions {
  /** Unpredictable bytes. */
  readonly random: (count: number) => Uint8Array;
  /** Nothing was ever sent on this port, so the guest cannot hold a half record. */
  readonly fresh: boolean;
}

export class HostLink implements Link {
  readonly maxPayloadBytes: number;
  onPayload: (payload: Uint8Array) => void = nothing;
  onDrain: () => void = nothing;
  onDown: (error?: Error) => void = nothing;
  /** The guest has acknowledged the reset. */
  onUp: () => void = nothing;
  private readonly channel: Channel;
  private readonly sender: RecordSender;
  private readonly reader: RecordReader;
  private epoch = 0;
  /** Looks for the acknowledgement; undefined once it is there. */
  private finder: Finder | undefined;
  private staleBytes = 0;
  private ended = false;

  constructor(channel: Channel, maxPayloadBytes: number) {
    this.channel = channel;
    this.maxPayloadBytes = maxPayloadBytes;
    this.sender = new RecordSender(channel);
    this.reader = new RecordReader(maxPayloadBytes, this);
    channel.onData = (bytes) => this.receive(bytes);
    channel.onDrain = () => {
      if (!this.finder) this.onDrain();
    };
    channel.onEnd = (error) => this.end(error ?? new TskataError(Code.Unavailable, 'link: the port was closed'));
  }

  get active(): boolean {
    return !this.ended;
  }

  /** Sends padding and reset. Once for each link. */
  reset(options: ResetOptions): void {
    const nonce = options.random(NONCE_BYTES);
    this.epoch = epochOf(options.random(4));
    this.finder = new Finder(encodeAck(nonce, this.epoch));
    this.channel.setReading(true);
    if (!options.fresh) {
      // Enough to complete the largest record that the guest may hold the first byte of.
      for (let left = this.maxPayloadBytes + RECORD_OVERHEAD_BYTES; left > 0; left -= PAD_PIECE_BYTES) {
        this.channel.write(new Uint8Array(Math.min(left, PAD_PIECE_BYTES)));
      }
    }
    this.channel.write(encodeReset(nonce, this.epoch));
  }

  send(first: Uint8Array, second: Uint8Array): boolean {
    return this.sender.send(first, second);
  }

  sendRecord(record: Uint8Array, payloadLength: number): boolean {
    return this.sender.sendRecord(record, payloadLength);
  }

  setReading(reading: boolean): void {
    this.channel.setReading(reading);
  }

  fail(fact: string): void {
    this.end(new TskataError(Code.DataLoss, `link: ${fact}`));
  }

  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.sender.epoch = 0;
    this.reader.clear();
    this.channel.close();
  }

  private end(error: Error): void {
    if (this.ended) return;
    this.close();
    this.onDown(error);
  }

  private receive(bytes: Uint8Array): void {
    if (this.ended) return;
    if (!this.finder) {
      // Before the reset was sent, everything is stale.
      if (this.epoch !== 0) this.reader.feed(bytes, 0);
      return;
    }
    const at = this.finder.find(bytes, 0);
    if (at < 0) {
      this.staleBytes += bytes.length;
      if (this.staleBytes > MAX_STALE_BYTES) this.fail(`${this.staleBytes} bytes came, and no answer to the reset`);
      return;
    }
    this.finder = undefined;
    this.sender.epoch = this.epoch;
    this.onUp();
    this.reader.feed(bytes, at);
  }

  onRecord(kind: number, payload: Uint8Array, tag: number): void {
    if (kind === Kind.Data && tag === this.epoch) this.onPayload(payload);
    else this.fail(`a record of kind ${kind} with tag ${tag} in epoch ${this.epoch}`);
  }

  onPadding(): void {
    this.fail('padding, which only the host sends');
  }

  onStrange(fact: string): void {
    this.fail(fact);
  }
}

/**
 * Resets both ports and waits for both answers, so that nothing of an older connection meets the new one. The users of
 * the links are attached before, so that an end right after the answer is not missed.
 */
export function resetPorts(
  links: readonly HostLink[],
  clock: Clock,
  options: ResetOptions & { readonly timeoutMs: number },
): Promise<void> {
  return new Promise((resolve, reject) => {
    let waiting = links.length;
    const give = (error: Error): void => {
      cancelTimer();
      for (const link of links) link.close();
      reject(error);
    };
    const cancelTimer = clock.timer(options.timeoutMs, () => {
      give(
        new TskataError(
          Code.DeadlineExceeded,
          `connect to the agent: no answer to the reset within ${options.timeoutMs} ms`,
        ),
      );
    });
    for (const link of links) {
      const { onDown } = link;
      link.onDown = (error) => {
        give(error ?? new TskataError(Code.Unavailable, 'connect to the agent: the port was closed'));
        onDown(error);
      };
      link.onUp = () => {
        if (--waiting > 0) return;
        cancelTimer();
        resolve();
      };
      link.reset(options);
    }
  });
}
