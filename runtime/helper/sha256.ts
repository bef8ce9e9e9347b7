/** SHA-256 (FIPS 180-4) for names of files; the engine has no crypto. Pure, for short inputs. */

const WORDS_PER_BLOCK = 16;
const ROUNDS = 64;

/** First 32 bits of the fractional parts of the square (cube) roots of the first primes. */
const { initial: INITIAL, constants: CONSTANTS } = makeConstants();

/** The digest as lower-case hexadecimal. */
export function sha256Hex(message: Uint8Array): string {
  const state = Int32Array.from(INITIAL);
  const padded = pad(message);
  const view = new DataView(padded.buffer);
  for (let offset = 0; offset < padded.length; offset += WORDS_PER_BLOCK * 4) compress(state, view, offset);
  return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
}

function pad(message: Uint8Array): Uint8Array {
  const blocks = Math.ceil((message.length + 9) / 64);
  const padded = new Uint8Array(blocks * 64);
  padded.set(message);
  padded[message.length] = 0x80;
  new DataView(padded.buffer).setBigUint64(padded.length - 8, BigInt(message.length) * 8n);
  return padded;
}

function rotate(word: number, bits: number): number {
  return (word >>> bits) | (word << (32 - bits));
}

function compress(state: Int32Array, view: DataView, offset: number): void {
  const w = new Int32Array(ROUNDS);
  for (let t = 0; t < ROUNDS; t++) {
    if (t < WORDS_PER_BLOCK) {
      w[t] = view.getInt32(offset + 4 * t);
      continue;
    }
    const [x = 0, y = 0] = [w[t - 15], w[t - 2]];
    const s0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3);
    const s1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >>> 10);
    w[t] = ((w[t - 16] ?? 0) + s0 + (w[t - 7] ?? 0) + s1) | 0;
  }
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state;
  for (let t = 0; t < ROUNDS; t++) {
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const first = (h + s1 + ((e & f) ^ (~e & g)) + (CONSTANTS[t] ?? 0) + (w[t] ?? 0)) | 0;
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const second = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + first) | 0, c, b, a, (first + second) | 0];
  }
  for (const [index, word] of [a, b, c, d, e, f, g, h].entries()) state[index] = ((state[index] ?? 0) + word) | 0;
}

function makeConstants(): { initial: number[]; constants: number[] } {
  const fraction = (value: number): number => ((value - Math.floor(value)) * 2 ** 32) | 0;
  const initial: number[] = [];
  const constants: number[] = [];
  for (let candidate = 2; constants.length < ROUNDS; candidate++) {
    if (constants.length > 0 && hasDivisor(candidate)) continue;
    if (initial.length < 8) initial.push(fraction(Math.sqrt(candidate)));
    constants.push(fraction(Math.cbrt(candidate)));
  }
  return { initial, constants };
}

function hasDivisor(candidate: number): boolean {
  for (let divisor = 2; divisor * divisor <= candidate; divisor++) if (candidate % divisor === 0) return true;
  return false;
}
