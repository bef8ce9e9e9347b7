/** What tskata itself must know, as annotations: network, published ports, size of the machine. */
import { DNS, NETWORK, PUBLISH } from '../annotations.ts';
import type { NetworkRequest } from '../request.ts';
import type { Transform } from './transform.ts';

export const annotate: Transform = (draft, request) => {
  Object.assign(draft.annotations, request.annotations, networkAnnotations(request));
};

/** The annotations by which a shim opens that network. */
export function networkAnnotations({ network, publish, dns }: NetworkRequest): Record<string, string> {
  return {
    [NETWORK]: network,
    ...(publish.length > 0 ? { [PUBLISH]: JSON.stringify(publish) } : {}),
    ...(dns.length > 0 ? { [DNS]: JSON.stringify(dns) } : {}),
  };
}
