/**
 * The smallest guest there is: a firmware image of our own that says it runs, computes for a moment, and says that it
 * is done. A host on which each instruction is emulated runs the first words of it and never reaches the last.
 */

/** What the guest writes to the debug port, in this order. */
const STARTED = 'S';
export const PROTECTED = 'P';
export const FINISHED = 'E';

/** Rounds of two instructions: some milliseconds on any CPU, seconds when the host emulates them. */
const LOOP_ROUNDS = 4_000_000;
/** I/O ports: QEMU's debug console and its exit device. */
export const DEBUG_PORT = 0xe9;
export const EXIT_PORT = 0xf4;

const ROM_BYTES = 0x10000;
const RESET_VECTOR = 0xfff0;
/** The image ends at 4 GiB; in protected mode its first byte is here. */
const ROM_BASE = 0xffff_0000;
const GDT = 0x38;
const GDT_POINTER = 0x48;
const PROTECTED_ENTRY = 0x1c;

/** The image, to be given to `-bios`. */
export function buildTestGuest(): Uint8Array {
  const rom = new Uint8Array(ROM_BYTES);
  const put = (offset: number, ...bytes: number[]) => rom.set(bytes, offset);
  // One instruction a line, with its assembly.
  put(0x00, 0xb0, STARTED.charCodeAt(0)); // mov al, 'S'
  put(0x02, 0xe6, DEBUG_PORT); // out DEBUG_PORT, al
  put(0x04, 0xfa); // cli
  put(0x05, 0x2e, 0x66, 0x0f, 0x01, 0x16, GDT_POINTER, 0x00); // lgdtl cs:[GDT_POINTER]
  put(0x0c, 0x0f, 0x20, 0xc0); // mov eax, cr0
  put(0x0f, 0x0c, 0x01); // or al, 1
  put(0x11, 0x0f, 0x22, 0xc0); // mov cr0, eax
  put(0x14, 0x66, 0xea, ...u32(ROM_BASE + PROTECTED_ENTRY), 0x08, 0x00); // jmp 8:PROTECTED_ENTRY
  put(PROTECTED_ENTRY, 0xb0, PROTECTED.charCodeAt(0)); // mov al, 'P'
  put(0x1e, 0xe6, DEBUG_PORT); // out DEBUG_PORT, al
  put(0x20, 0xb9, ...u32(LOOP_ROUNDS)); // mov ecx, LOOP_ROUNDS
  put(0x25, 0x49); // dec ecx
  put(0x26, 0x75, 0xfd); // jnz back
  put(0x28, 0xb0, FINISHED.charCodeAt(0)); // mov al, 'E'
  put(0x2a, 0xe6, DEBUG_PORT); // out DEBUG_PORT, al
  put(0x2c, 0xe6, EXIT_PORT); // out EXIT_PORT, al: QEMU ends
  put(0x2e, 0xf4, 0xeb, 0xfd); // hlt, again
  // One flat code segment of 4 GiB after the null one.
  put(GDT + 8, 0xff, 0xff, 0x00, 0x00, 0x00, 0x9a, 0xcf, 0x00);
  put(GDT_POINTER, 0x0f, 0x00, ...u32(ROM_BASE + GDT));
  put(RESET_VECTOR, 0xe9, ...u16(0x1_0000 - (RESET_VECTOR + 3))); // jmp 0
  return rom;
}

function u32(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, (value >>> 24) & 0xff];
}

function u16(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff];
}
