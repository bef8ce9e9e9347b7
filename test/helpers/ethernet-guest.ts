/**
 * A guest made of nothing but frames: speaks Ethernet, ARP, IPv4, TCP and UDP to the user-mode network over the stream
 * that QEMU would hold (each frame after its length, 32 bits big endian). Enough to see what becomes of one packet.
 */
import type { Duplex } from 'node:stream';

const GUEST_MAC = mac('02:74:73:6b:00:01');
/** The other end of the link takes every frame for its own. */
const GATEWAY_MAC = mac('02:74:73:6b:00:02');
const ICMP = 1;
const ICMP_UNREACHABLE = 3;
const TCP = 6;
const UDP = 17;
const SYN = 0x02;
const RST = 0x04;
const ACK = 0x10;

/** What a connection attempt met. */
export type Reply = 'accepted' | 'refused' | 'unreachable' | 'silence';

export class EthernetGuest {
  readonly #socket: Duplex;
  readonly #address: Buffer;
  readonly #listeners = new Set<(ip: Buffer) => void>();
  #received = Buffer.alloc(0);
  #nextPort = 40_000;

  constructor(socket: Duplex, address: string) {
    this.#socket = socket;
    this.#address = inet(address);
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
  }

  /** Sends a SYN and tells what came back within the time. */
  connect(address: string, port: number, timeoutMs: number): Promise<Reply> {
    const from = this.#nextPort++;
    const segment = Buffer.alloc(20);
    segment.writeUInt16BE(from, 0);
    segment.writeUInt16BE(port, 2);
    segment.writeUInt32BE(1000, 4);
    segment[12] = 5 << 4;
    segment[13] = SYN;
    segment.writeUInt16BE(64_000, 14);
    const answer = this.#await(TCP, address, port, from, timeoutMs).then((reply): Reply => {
      if (reply === undefined) return 'silence';
      if (reply === 'unreachable') return reply;
      const flags = reply[13] ?? 0;
      return flags & RST ? 'refused' : (flags & (SYN | ACK)) === (SYN | ACK) ? 'accepted' : 'silence';
    });
    this.#sendIp(TCP, inet(address), segment, 16);
    return answer;
  }

  /** Sends a datagram; the payload that came back, or undefined. */
  async ask(address: string, port: number, payload: Buffer, timeoutMs: number): Promise<Buffer | undefined> {
    const from = this.#nextPort++;
    const datagram = Buffer.concat([Buffer.alloc(8), payload]);
    datagram.writeUInt16BE(from, 0);
    datagram.writeUInt16BE(port, 2);
    datagram.writeUInt16BE(datagram.length, 4);
    const answer = this.#await(UDP, address, port, from, timeoutMs);
    this.#sendIp(UDP, inet(address), datagram, 6);
    const reply = await answer;
    return reply === 'unreachable' ? undefined : reply?.subarray(8);
  }

  #await(
    protocol: number,
    address: string,
    port: number,
    from: number,
    timeoutMs: number,
  ): Promise<Buffer | 'unreachable' | undefined> {
    return new Promise((resolve) => {
      const done = (result: Buffer | 'unreachable' | undefined): void => {
        clearTimeout(timer);
        this.#listeners.delete(listener);
        resolve(result);
      };
      const timer = setTimeout(() => done(undefined), timeoutMs);
      const listener = (packet: Buffer): void => {
        const body = packet.subarray(((packet[0] ?? 0) & 15) * 4, packet.readUInt16BE(2));
        if (packet[9] === ICMP && body[0] === ICMP_UNREACHABLE && isAbout(body.subarray(8), address, port, from)) {
          done('unreachable');
          return;
        }
        const same = packet[9] === protocol && packet.subarray(12, 16).equals(inet(address));
        if (same && body.readUInt16BE(0) === port && body.readUInt16BE(2) === from) done(body);
      };
      this.#listeners.add(listener);
    });
  }

  #sendIp(protocol: number, to: Buffer, body: Buffer, checksumAt: number): void {
    const header = Buffer.alloc(20);
    header[0] = 0x45;
    header.writeUInt16BE(20 + body.length, 2);
    header[8] = 64;
    header[9] = protocol;
    this.#address.copy(header, 12);
    to.copy(header, 16);
    header.writeUInt16BE(checksum(header), 10);
    const pseudo = Buffer.concat([this.#address, to, Buffer.from([0, protocol, body.length >> 8, body.length & 255])]);
    body.writeUInt16BE(checksum(Buffer.concat([pseudo, body])), checksumAt);
    this.#sendFrame(GATEWAY_MAC, 0x0800, Buffer.concat([header, body]));
  }

  #sendFrame(to: Buffer, type: number, body: Buffer): void {
    const frame = Buffer.concat([to, GUEST_MAC, Buffer.from([type >> 8, type & 255]), body]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(frame.length);
    this.#socket.write(Buffer.concat([length, frame]));
  }

  #receive(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    while (this.#received.length >= 4 && this.#received.length >= 4 + this.#received.readUInt32BE(0)) {
      const end = 4 + this.#received.readUInt32BE(0);
      const frame = this.#received.subarray(4, end);
      this.#received = this.#received.subarray(end);
      if (frame.readUInt16BE(12) === 0x0806) this.#answerArp(frame.subarray(14));
      else if (frame.readUInt16BE(12) === 0x0800) for (const listener of this.#listeners) listener(frame.subarray(14));
    }
  }

  #answerArp(request: Buffer): void {
    if (request.readUInt16BE(6) !== 1 || !request.subarray(24, 28).equals(this.#address)) return;
    const reply = Buffer.concat([
      Buffer.from([0, 1, 8, 0, 6, 4, 0, 2]),
      GUEST_MAC,
      this.#address,
      request.subarray(8, 14),
      request.subarray(14, 18),
    ]);
    this.#sendFrame(request.subarray(8, 14), 0x0806, reply);
  }
}

/** Whether the packet that an ICMP error quotes is ours. */
function isAbout(quoted: Buffer, address: string, port: number, from: number): boolean {
  const body = quoted.subarray(((quoted[0] ?? 0) & 15) * 4);
  return (
    quoted.subarray(16, 20).equals(inet(address)) && body.readUInt16BE(0) === from && body.readUInt16BE(2) === port
  );
}

function mac(text: string): Buffer {
  return Buffer.from(text.replaceAll(':', ''), 'hex');
}

function inet(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number));
}

function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
