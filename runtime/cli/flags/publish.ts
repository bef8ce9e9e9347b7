/** -p: a TCP port of the host that leads into the container, with docker's syntax. */
import { isIP } from 'node:net';
import { Code, TskataError } from '../../../agent/protocol/errors.ts';
import type { PublishRequest } from '../../oci/request.ts';

const MAX_PORT = 65_535;
const MAX_PORTS = 1024;

function refuse(flag: string, text: string, why: string): never {
  throw new TskataError(Code.InvalidArgument, `${flag} ${text}: ${why}`);
}

function rangeOf(flag: string, text: string, part: string): [number, number] {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (!match || first < 1 || last > MAX_PORT || last < first)
    refuse(flag, text, `${JSON.stringify(part)} is not a port or range`);
  return [first, last];
}

/** `-p [ADDRESS:]HOSTPORT:CONTAINERPORT[/tcp]`, ranges of equal length allowed. */
export function parsePublish(flag: string, text: string): PublishRequest[] {
  const slash = text.lastIndexOf('/');
  const protocol = slash < 0 ? 'tcp' : text.slice(slash + 1);
  if (protocol !== 'tcp') refuse(flag, text, `protocol ${JSON.stringify(protocol)} cannot be published, only tcp`);
  const address = slash < 0 ? text : text.slice(0, slash);
  const match = /^(?:(?:\[([^\]]+)\]|([^:[\]]*)):)?([^:]+):([^:]+)$/.exec(address);
  if (!match) refuse(flag, text, 'write [ADDRESS:]HOSTPORT:CONTAINERPORT');
  const hostIp = match[1] ?? (match[2] || '0.0.0.0');
  if (isIP(hostIp) === 0) refuse(flag, text, `${JSON.stringify(hostIp)} is not an IP address`);
  const [hostFirst, hostLast] = rangeOf(flag, text, match[3] ?? '');
  const [first, last] = rangeOf(flag, text, match[4] ?? '');
  if (hostLast - hostFirst !== last - first) refuse(flag, text, 'the two ranges differ in length');
  if (last - first >= MAX_PORTS) refuse(flag, text, `more than ${MAX_PORTS} ports`);
  return Array.from({ length: last - first + 1 }, (_, index) => ({
    hostIp,
    hostPort: hostFirst + index,
    containerPort: first + index,
  }));
}
