/**
 * Owns redirection at an interface's ingress: every packet that it receives leaves by another interface of the same
 * namespace, before the namespace's own stack sees it. Knows no policy: who redirects what is the caller's business.
 */
import { attribute, NetlinkSocket, NLM_F, nested, parseAttributes } from './netlink.ts';
import { concat, cString, viewOf, words32 } from './structs.ts';
import type { Sys } from './sys.ts';

const RTM = { NEWQDISC: 36, DELQDISC: 37, GETQDISC: 38, NEWTFILTER: 44, GETTFILTER: 46 } as const;
const TCA = { KIND: 1, OPTIONS: 2 } as const;
/** The place of the one ingress queueing discipline of an interface, and its handle, "ffff:". */
const PARENT_INGRESS = 0xffff_fff1;
const HANDLE_INGRESS = 0xffff_0000;
const HEADER_BYTES = 20;

/** ETH_P_ALL in network order, as a little-endian word holds it. */
const ALL_PROTOCOLS = 0x0300;
const TCA_U32 = { SEL: 5, ACT: 7 } as const;
const U32_TERMINAL = 1;
const U32_SELECTOR_BYTES = 16;
const U32_KEY_BYTES = 16;
const TCA_ACT = { KIND: 1, OPTIONS: 2 } as const;
const TCA_MIRRED_PARMS = 2;
/** NLA_F_NESTED */
const NESTED = 0x8000;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;
/** Offset of the interface in struct tc_mirred. */
const MIRRED_IFINDEX = 24;

/** An ingress queueing discipline. */
export interface IngressQdisc {
  readonly index: number;
  /** "ingress", "clsact". */
  readonly kind: string;
}

/** A filter at an interface's ingress. */
export interface IngressFilter {
  /** Number by which its maker can tell it from those of others. */
  readonly priority: number;
  /** Interface by which packets leave; 0 when that interface is gone, undefined for a filter that does something else. */
  readonly target: number | undefined;
}

/** Ingress of the interfaces of the namespace in which it was made. */
export class TrafficControl {
  readonly #netlink: NetlinkSocket;

  constructor(sys: Sys) {
    this.#netlink = new NetlinkSocket(sys);
  }

  close(): void {
    this.#netlink.close();
  }

  ingressQdiscs(): IngressQdisc[] {
    const messages = this.#netlink.dump(RTM.GETQDISC, header(0, 0, 0, 0), 'list queueing disciplines');
    return messages.flatMap(({ type, payload }) => {
      if (type !== RTM.NEWQDISC || payload.length < HEADER_BYTES) return [];
      const view = viewOf(payload);
      if (view.getUint32(12, true) !== PARENT_INGRESS) return [];
      const kind = parseAttributes(payload.subarray(HEADER_BYTES)).get(TCA.KIND) ?? new Uint8Array(0);
      return [{ index: view.getInt32(4, true), kind: cString(kind) }];
    });
  }

  /** Throws EEXIST for an interface that has one. */
  addIngress(index: number, subject: string): void {
    const payload = concat([header(index, HANDLE_INGRESS, PARENT_INGRESS, 0), attribute(TCA.KIND, 'ingress')]);
    const flags = NLM_F.CREATE | NLM_F.EXCL;
    this.#netlink.change(RTM.NEWQDISC, flags, payload, 'add ingress queueing discipline to', subject);
  }

  /** Takes the filters along. */
  deleteIngress(index: number, subject: string): void {
    const payload = header(index, HANDLE_INGRESS, PARENT_INGRESS, 0);
    this.#netlink.change(RTM.DELQDISC, 0, payload, 'delete ingress queueing discipline of', subject);
  }

  /** Everything that `from` receives leaves by `to`. */
  redirect(from: number, to: number, priority: number, subject: string): void {
    const flags = NLM_F.CREATE | NLM_F.EXCL;
    this.#netlink.change(RTM.NEWTFILTER, flags, redirectPayload(from, to, priority), 'redirect packets of', subject);
  }

  /** Filters of an interface's ingress; none when it has no ingress discipline. */
  ingressFilters(index: number): IngressFilter[] {
    const request = header(index, 0, HANDLE_INGRESS, 0);
    const messages = this.#netlink.dump(RTM.GETTFILTER, request, 'list filters');
    return messages.flatMap(({ type, payload }) => (type === RTM.NEWTFILTER ? parseFilter(payload, index) : []));
  }
}

/** struct tcmsg. */
function header(index: number, handle: number, parent: number, info: number): Uint8Array {
  return words32(0, index, handle, parent, info);
}

/** A u32 filter that matches everything (matchall is not in every kernel) with the action mirred. */
export function redirectPayload(from: number, to: number, priority: number): Uint8Array {
  const selector = new Uint8Array(U32_SELECTOR_BYTES + U32_KEY_BYTES);
  selector[0] = U32_TERMINAL;
  // One key: no bit of the first word must be anything.
  selector[2] = 1;
  const mirred = words32(0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR, to);
  const action = nested(
    1,
    attribute(TCA_ACT.KIND, 'mirred'),
    nested(TCA_ACT.OPTIONS | NESTED, attribute(TCA_MIRRED_PARMS, mirred)),
  );
  return concat([
    header(from, 0, HANDLE_INGRESS, ((priority << 16) | ALL_PROTOCOLS) >>> 0),
    attribute(TCA.KIND, 'u32'),
    nested(TCA.OPTIONS, nested(TCA_U32.ACT, action), attribute(TCA_U32.SEL, selector)),
  ]);
}

/** A u32 filter is told in several messages; its hash table is none. */
function parseFilter(payload: Uint8Array, index: number): IngressFilter[] {
  if (payload.length < HEADER_BYTES) return [];
  const view = viewOf(payload);
  if (view.getInt32(4, true) !== index) return [];
  const priority = view.getUint32(16, true) >>> 16;
  const attributes = parseAttributes(payload.subarray(HEADER_BYTES));
  const options = parseAttributes(attributes.get(TCA.OPTIONS) ?? new Uint8Array(0));
  if (cString(attributes.get(TCA.KIND) ?? new Uint8Array(0)) !== 'u32') return [{ priority, target: undefined }];
  const actions = options.get(TCA_U32.ACT);
  return actions === undefined ? [] : [{ priority, target: parseRedirection(actions) }];
}

function parseRedirection(actions: Uint8Array): number | undefined {
  const action = parseAttributes(parseAttributes(actions).get(1) ?? new Uint8Array(0));
  if (cString(action.get(TCA_ACT.KIND) ?? new Uint8Array(0)) !== 'mirred') return undefined;
  const parms = parseAttributes(action.get(TCA_ACT.OPTIONS) ?? new Uint8Array(0)).get(TCA_MIRRED_PARMS);
  return parms === undefined || parms.length < MIRRED_IFINDEX + 4
    ? undefined
    : viewOf(parms).getUint32(MIRRED_IFINDEX, true);
}
