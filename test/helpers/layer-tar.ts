/**
 * Writes tar streams for tests, honest and hostile ones: pax headers with raw bytes, sparse files, any name. It shares
 * no code with the reader that it tests.
 */

/** One entry; what is left out is ordinary. */
export interface TarPiece {
  readonly name: string;
  /** Type character: '0' file, '1' link, '2' symlink, '3' char, '4' block, '5' directory, '6' fifo. */
  readonly type?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly data?: Buffer | string;
  readonly link?: string;
  readonly major?: number;
  readonly minor?: number;
  /** Size that the header states, when it lies. */
  readonly statedSize?: number;
  /** Extended records before the entry. */
  readonly pax?: Readonly<Record<string, Buffer | string>>;
  readonly xattrs?: Readonly<Record<string, Buffer | string>>;
  /** Overwrites bytes of the header before its checksum is made. */
  readonly patch?: (header: Buffer) => void;
}

const BLOCK = 512;

/** The whole archive. */
export function tarOf(pieces: readonly TarPiece[]): Buffer {
  return Buffer.concat([...pieces.map(entryOf), Buffer.alloc(2 * BLOCK)]);
}

/** One entry with its extended header. */
export function entryOf(piece: TarPiece): Buffer {
  const data = typeof piece.data === 'string' ? Buffer.from(piece.data) : (piece.data ?? Buffer.alloc(0));
  const name = Buffer.from(piece.name, 'latin1');
  const link = Buffer.from(piece.link ?? '', 'latin1');
  const records: [string, Buffer][] = [];
  for (const [key, value] of Object.entries(piece.pax ?? {})) records.push([key, toBuffer(value)]);
  for (const [key, value] of Object.entries(piece.xattrs ?? {})) records.push([`SCHILY.xattr.${key}`, toBuffer(value)]);
  if (name.length > 100) records.push(['path', name]);
  if (link.length > 100) records.push(['linkpath', link]);
  if ((piece.uid ?? 0) > 0o7777777) records.push(['uid', Buffer.from(String(piece.uid))]);
  if ((piece.gid ?? 0) > 0o7777777) records.push(['gid', Buffer.from(String(piece.gid))]);
  const parts: Buffer[] = [];
  if (records.length > 0) {
    const body = Buffer.concat(records.map(([key, value]) => paxRecord(key, value)));
    parts.push(header({ name: 'PaxHeaders/x', type: 'x' }, body.length), pad(body));
  }
  parts.push(header(piece, piece.statedSize ?? data.length), pad(data));
  return Buffer.concat(parts);
}

export function paxRecord(key: string, value: Buffer): Buffer {
  const tail = Buffer.concat([Buffer.from(` ${key}=`, 'latin1'), value, Buffer.from('\n')]);
  let length = tail.length + 1;
  while (String(length).length + tail.length !== length) length = String(length).length + tail.length;
  return Buffer.concat([Buffer.from(String(length)), tail]);
}

export function header(piece: TarPiece, size: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(piece.name.slice(0, 100), 0, 'latin1');
  octal(block, 100, 8, piece.mode ?? (piece.type === '5' ? 0o755 : 0o644));
  octal(block, 108, 8, (piece.uid ?? 0) > 0o7777777 ? 0 : (piece.uid ?? 0));
  octal(block, 116, 8, (piece.gid ?? 0) > 0o7777777 ? 0 : (piece.gid ?? 0));
  if (size > 0o77777777777) {
    block.writeBigUInt64BE(BigInt(size), 128);
    block[124] = 0x80;
  } else octal(block, 124, 12, size);
  octal(block, 136, 12, piece.mtime ?? 1_700_000_000);
  block.write(piece.type ?? '0', 156, 'latin1');
  block.write((piece.link ?? '').slice(0, 100), 157, 'latin1');
  block.write('ustar\0' + '00', 257, 'latin1');
  octal(block, 329, 8, piece.major ?? 0);
  octal(block, 337, 8, piece.minor ?? 0);
  piece.patch?.(block);
  block.fill(0x20, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}

function octal(block: Buffer, at: number, length: number, value: number): void {
  block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
}

function pad(data: Buffer): Buffer {
  const rest = data.length % BLOCK;
  return rest === 0 ? data : Buffer.concat([data, Buffer.alloc(BLOCK - rest)]);
}

function toBuffer(value: Buffer | string): Buffer {
  return typeof value === 'string' ? Buffer.from(value, 'latin1') : value;
}
