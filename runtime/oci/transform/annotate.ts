/** What tskata itself must know, as annotations: network, published ports, size of the machine. */
import { DNS, NETWORK, PUBLISH } from '../annotations.ts';
import type { Transform } from './transform.ts';

export const annotate: Transform = (draft, request) => {
  Object.assign(draft.annotations, request.annotations, { [NETWORK]: request.network });
  if (request.publish.length > 0) draft.annotations[PUBLISH] = JSON.stringify(request.publish);
  if (request.dns.length > 0) draft.annotations[DNS] = JSON.stringify(request.dns);
};
