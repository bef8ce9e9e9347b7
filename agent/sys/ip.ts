/**
 * Owns the text forms of IP and hardware addresses. Pure: bytes on one side, text on the other. What is not an address
 * is undefined, so that the caller words the error.
 */

/** 4 or 16 bytes of an address in text form. */
export function parseIp(text: string): Uint8Array | undefined {
  return text.includes(':') ? parseInet6(text) : parseInet4(text);
}

/** Address and prefix of CIDR form; a single address has the full prefix. Host bits are kept. */
export function parsePrefixed(text: string): { address: Uint8Array; prefix: number } | undefined {
  const slash = text.indexOf('/');
  const address = parseIp(slash < 0 ? text : text.slice(0, slash));
  if (address === undefined) return undefined;
  const bits = slash < 0 ? String(address.length * 8) : text.slice(slash + 1);
  if (!/^(0|[1-9]\d{0,2})$/.test(bits) || Number(bits) > address.length * 8) return undefined;
  return { address, prefix: Number(bits) };
}

/** Text form of 4 or 16 address bytes; IPv6 without the shortening of zeros. */
export function formatIp(address: Uint8Array): string {
  if (address.length === 4) return address.join('.');
  const groups: string[] = [];
  for (let at = 0; at + 1 < address.length; at += 2) {
    groups.push((((address[at] ?? 0) << 8) | (address[at + 1] ?? 0)).toString(16));
  }
  return groups.join(':');
}

/** 6 bytes of "02:00:00:aa:bb:cc". */
export function parseMac(text: string): Uint8Array | undefined {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) return undefined;
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
}

/** "02:00:00:aa:bb:cc" of 6 bytes. */
export function formatMac(mac: Uint8Array): string {
  return Array.from(mac, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function parseInet4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  const valid = parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256);
  return valid ? Uint8Array.from(parts, Number) : undefined;
}

function parseInet6(text: string): Uint8Array | undefined {
  const [left = '', right, more] = text.split('::');
  if (more !== undefined) return undefined;
  const head = parseGroups(left, right === undefined);
  const tail = right === undefined ? [] : parseGroups(right, true);
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (right === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

/** 16-bit groups; the last part may be an IPv4 address when `last` says that the text ends here. */
function parseGroups(text: string, last: boolean): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    const four = last && index === parts.length - 1 && part.includes('.') ? parseInet4(part) : undefined;
    if (four !== undefined) {
      const [a = 0, b = 0, c = 0, d = 0] = four;
      groups.push((a << 8) | b, (c << 8) | d);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return groups;
}
