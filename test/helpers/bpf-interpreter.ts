/** Runs the few eBPF instructions that our programs are made of, on a made-up context. */

/** What a program sees: its context struct and, for packet programs, the packet from its IP header on. */
export interface BpfInput {
  readonly context: Uint8Array;
  readonly packet?: Uint8Array;
  /** Further helpers of the kernel by number; bpf_skb_load_bytes is there. */
  readonly helpers?: Readonly<Record<number, (args: readonly number[]) => number>>;
}

const CONTEXT_BASE = 0x10_0000;
const STACK_BASE = 0x20_0000;
const STACK_BYTES = 512;
const MAX_STEPS = 10_000;

/** The program's result. Throws for whatever the kernel's verifier would refuse here. */
export function runBpf(code: Uint8Array, input: BpfInput): number {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  const stack = new Uint8Array(STACK_BYTES);
  const registers = new Array<number>(11).fill(Number.NaN);
  registers[1] = CONTEXT_BASE;
  registers[10] = STACK_BASE + STACK_BYTES;
  const load = (address: number, bytes: number): number => {
    const inStack = address >= STACK_BASE;
    const memory = inStack ? stack : input.context;
    const at = address - (inStack ? STACK_BASE : CONTEXT_BASE);
    if (!(at >= 0 && at + bytes <= memory.length)) throw new Error(`load outside of memory: ${address}`);
    let value = 0;
    for (let index = bytes - 1; index >= 0; index--) value = value * 256 + (memory[at + index] ?? 0);
    return value;
  };
  for (let pc = 0, step = 0; step < MAX_STEPS; step++, pc++) {
    const at = pc * 8;
    const op = view.getUint8(at);
    const to = view.getUint8(at + 1) & 15;
    const from = view.getUint8(at + 1) >> 4;
    const offset = view.getInt16(at + 2, true);
    const value = view.getInt32(at + 4, true);
    const get = (register: number): number => {
      const found = registers[register] ?? Number.NaN;
      if (Number.isNaN(found)) throw new Error(`instruction ${pc} reads r${register}, which is not set`);
      return found;
    };
    switch (op) {
      case 0xbf:
        registers[to] = get(from);
        break;
      case 0xb7:
        registers[to] = value;
        break;
      case 0x07:
        registers[to] = get(to) + value;
        break;
      case 0x54:
        registers[to] = (get(to) & value) >>> 0;
        break;
      case 0x64:
        registers[to] = (get(to) << value) >>> 0;
        break;
      case 0x61:
        registers[to] = load(get(from) + offset, 4);
        break;
      case 0x69:
        registers[to] = load(get(from) + offset, 2);
        break;
      case 0x71:
        registers[to] = load(get(from) + offset, 1);
        break;
      case 0x62:
        new DataView(stack.buffer).setInt32(get(to) + offset - STACK_BASE, value, true);
        break;
      case 0x18:
        registers[to] = value;
        pc += 1;
        break;
      case 0x15:
        if (get(to) === value) pc += offset;
        break;
      case 0x05:
        pc += offset;
        break;
      case 0x16:
        if (get(to) >>> 0 === value >>> 0) pc += offset;
        break;
      case 0x56:
        if (get(to) >>> 0 !== value >>> 0) pc += offset;
        break;
      case 0xc5:
        if (get(to) < value) pc += offset;
        break;
      case 0x85: {
        const helper = input.helpers?.[value];
        if (helper !== undefined) {
          registers[0] = helper(registers.slice(1, 6));
          for (const scratch of [1, 2, 3, 4, 5]) registers[scratch] = Number.NaN;
          break;
        }
        if (value !== 26) throw new Error(`helper ${value} is not known here`);
        const packet = input.packet ?? new Uint8Array(0);
        const start = get(2);
        const length = get(4);
        const target = get(3) - STACK_BASE;
        const fits = start + length <= packet.length;
        if (fits) stack.set(packet.subarray(start, start + length), target);
        registers[0] = fits ? 0 : -14;
        for (const scratch of [1, 2, 3, 4, 5]) registers[scratch] = Number.NaN;
        break;
      }
      case 0x95:
        return get(0);
      default:
        throw new Error(`instruction ${pc}: code 0x${op.toString(16)} is not known here`);
    }
  }
  throw new Error('the program does not end');
}
