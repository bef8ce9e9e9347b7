/** Writes eBPF instructions (`struct bpf_insn`) with forward labels. Knows no program type. */
import { assert } from '../../agent/protocol/errors.ts';

/** A jump target that is placed later. */
export interface Label {
  at: number | undefined;
}

const INSTRUCTION_BYTES = 8;

/** Registers: 0 result, 1..5 arguments and scratch, 6..9 kept over calls, 10 frame pointer. */
export class BpfAssembler {
  readonly #code: number[][] = [];
  readonly #jumps: { readonly index: number; readonly label: Label }[] = [];

  label(): Label {
    return { at: undefined };
  }

  place(label: Label): this {
    label.at = this.#code.length;
    return this;
  }

  move(to: number, from: number): this {
    return this.#emit(0xbf, to, from, 0, 0);
  }

  moveImmediate(to: number, value: number): this {
    return this.#emit(0xb7, to, 0, 0, value);
  }

  addImmediate(to: number, value: number): this {
    return this.#emit(0x07, to, 0, 0, value);
  }

  and32Immediate(to: number, value: number): this {
    return this.#emit(0x54, to, 0, 0, value);
  }

  shiftLeft32Immediate(to: number, value: number): this {
    return this.#emit(0x64, to, 0, 0, value);
  }

  /** to = *(u32 *)(from + offset) */
  load32(to: number, from: number, offset: number): this {
    return this.#emit(0x61, to, from, offset, 0);
  }

  load16(to: number, from: number, offset: number): this {
    return this.#emit(0x69, to, from, offset, 0);
  }

  load8(to: number, from: number, offset: number): this {
    return this.#emit(0x71, to, from, offset, 0);
  }

  /** Calls a helper by number. */
  callHelper(id: number): this {
    return this.#emit(0x85, 0, 0, 0, id);
  }

  jump(label: Label): this {
    return this.#jump(0x05, 0, 0, label);
  }

  /** Compares the low 32 bits. */
  jumpIfEqual(register: number, value: number, label: Label): this {
    return this.#jump(0x16, register, value, label);
  }

  /** Compares the low 32 bits. */
  jumpIfNotEqual(register: number, value: number, label: Label): this {
    return this.#jump(0x56, register, value, label);
  }

  /** Signed 64-bit comparison with zero: for results of helpers. */
  jumpIfNegative(register: number, label: Label): this {
    return this.#jump(0xc5, register, 0, label);
  }

  /** Returns `value`. */
  exit(value: number): this {
    return this.moveImmediate(0, value).#emit(0x95, 0, 0, 0, 0);
  }

  /** The instructions as the kernel takes them. */
  assemble(): Uint8Array {
    for (const { index, label } of this.#jumps) {
      assert(label.at !== undefined, 'every label is placed');
      const instruction = this.#code[index];
      assert(instruction !== undefined, 'a jump is an instruction');
      instruction[3] = label.at - index - 1;
    }
    const bytes = new Uint8Array(this.#code.length * INSTRUCTION_BYTES);
    const view = new DataView(bytes.buffer);
    for (const [index, [code = 0, to = 0, from = 0, offset = 0, value = 0]] of this.#code.entries()) {
      const at = index * INSTRUCTION_BYTES;
      view.setUint8(at, code);
      view.setUint8(at + 1, (from << 4) | to);
      view.setInt16(at + 2, offset, true);
      view.setInt32(at + 4, value | 0, true);
    }
    return bytes;
  }

  #jump(code: number, register: number, value: number, label: Label): this {
    this.#jumps.push({ index: this.#code.length, label });
    return this.#emit(code, register, 0, 0, value);
  }

  #emit(code: number, to: number, from: number, offset: number, value: number): this {
    this.#code.push([code, to, from, offset, value]);
    return this;
  }
}
