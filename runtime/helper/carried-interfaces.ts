/**
 * The interfaces of a pod's network namespace that are carried into its machine: a tap for each, and redirection at the
 * ingress of both, so that every packet of the one leaves by the other and the namespace's own stack sees none. The
 * interface keeps its addresses, for those who look; the guest has the same ones.
 *
 *     host's veth === eth0 (ingress) --> tsk2 --> QEMU --> guest's eth0
 *                     eth0 <-- (ingress) tsk2 <-- QEMU <-- guest's eth0
 *
 * A tap ends with its last descriptor. The ingress discipline of the interface does not: it is removed at the end, and
 * what a killed keeper left is told by its filter, whose target is gone (`removeStale`).
 */
import { Code, TskataError } from '../../agent/protocol/errors.ts';
import { close } from '../../agent/sys/calls.ts';
import { E } from '../../agent/sys/errno.ts';
import { isErrno } from '../../agent/sys/errors.ts';
import type { Link, RouteSocket } from '../../agent/sys/rtnetlink.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import type { TrafficControl } from '../../agent/sys/traffic-control.ts';

/** Priority of our filters ("ts"), by which they are known again. */
const PRIORITY = 0x7473;
/** Taps are named after the index of their interface. */
const TAP_PREFIX = 'tsk';

interface Carried {
  readonly tap: string;
  /** The tap's descriptor until a program has taken it. */
  fd: number | undefined;
}

/** What is needed of the namespace; the sockets were made in it. */
export interface CarriedParts {
  readonly sys: Sys;
  readonly routes: RouteSocket;
  readonly trafficControl: TrafficControl;
  /** Makes a tap in the namespace, down; the tap ends with the descriptor. */
  readonly makeTap: (name: string) => number;
}

/** The carried interfaces of one namespace. */
export class CarriedInterfaces {
  readonly #parts: CarriedParts;
  readonly #carried = new Map<number, Carried>();

  constructor(parts: CarriedParts) {
    this.#parts = parts;
  }

  /** Makes the tap of an interface and redirects. Returns the tap's name. A failure leaves nothing. */
  carry(index: number): string {
    const { sys, routes, trafficControl } = this.#parts;
    const link = this.#find(index);
    const tap = `${TAP_PREFIX}${index}`;
    if (this.#carried.has(index))
      throw new TskataError(Code.AlreadyExists, `carry ${link.name}: it is carried already`);
    removeStale(routes, trafficControl);
    this.#requireFree(link);
    const fd = this.#makeTap(tap, link);
    try {
      const tapLink = routes.findLink(tap);
      if (tapLink === undefined)
        throw new TskataError(Code.NotFound, `carry ${link.name}: its tap ${tap} has vanished`);
      routes.changeLink(tapLink.index, { mtu: link.mtu, silent: true });
      routes.changeLink(tapLink.index, { up: true });
      trafficControl.addIngress(tapLink.index, tap);
      trafficControl.redirect(tapLink.index, index, PRIORITY, tap);
      trafficControl.addIngress(index, link.name);
      this.#carried.set(index, { tap, fd });
      trafficControl.redirect(index, tapLink.index, PRIORITY, link.name);
      return tap;
    } catch (error) {
      if (this.#carried.has(index)) this.drop(index);
      else close(sys, fd);
      throw error;
    }
  }

  /** The descriptor of a carried interface's tap, once: from now on the tap lives as long as whoever got it. */
  take(tap: string): number | undefined {
    const carried = [...this.#carried.values()].find((each) => each.tap === tap);
    const fd = carried?.fd;
    if (carried !== undefined) carried.fd = undefined;
    return fd;
  }

  /** Redirects no more. What the interface's end has taken along is fine. */
  drop(index: number): void {
    const { sys, trafficControl } = this.#parts;
    const carried = this.#carried.get(index);
    if (carried === undefined) return;
    this.#carried.delete(index);
    if (carried.fd !== undefined) close(sys, carried.fd);
    try {
      trafficControl.deleteIngress(index, `#${index}`);
    } catch (error) {
      if (!isErrno(error, E.ENODEV, E.ENOENT, E.EINVAL)) throw error;
    }
  }

  end(): void {
    for (const index of [...this.#carried.keys()]) this.drop(index);
  }

  #find(index: number): Link {
    const link = this.#parts.routes.links().find((each) => each.index === index);
    if (link === undefined) throw new TskataError(Code.NotFound, `carry interface #${index}: it is gone`);
    return link;
  }

  #requireFree(link: Link): void {
    const qdisc = this.#parts.trafficControl.ingressQdiscs().find((each) => each.index === link.index);
    if (qdisc === undefined) return;
    const ours = this.#parts.trafficControl.ingressFilters(link.index).some(({ priority }) => priority === PRIORITY);
    throw ours
      ? new TskataError(Code.AlreadyExists, `carry ${link.name}: another sandbox uses this network namespace`)
      : new TskataError(
          Code.FailedPrecondition,
          `carry ${link.name}: it has an ingress queueing discipline (${qdisc.kind}) of somebody else - remove it`,
        );
  }

  /** The kernel refuses a name that another descriptor holds. */
  #makeTap(tap: string, link: Link): number {
    try {
      return this.#parts.makeTap(tap);
    } catch (error) {
      if (!isErrno(error, E.EBUSY)) throw error;
      throw new TskataError(
        Code.AlreadyExists,
        `carry ${link.name}: another sandbox uses this network namespace`,
        error,
      );
    }
  }
}

/** Removes ingress disciplines of ours whose tap is gone. Returns the names of their interfaces. */
export function removeStale(routes: RouteSocket, trafficControl: TrafficControl): string[] {
  const links = new Map(routes.links().map((link) => [link.index, link.name]));
  const stale = trafficControl.ingressQdiscs().filter(({ index }) => {
    const filters = trafficControl.ingressFilters(index);
    const gone = ({ target }: { target: number | undefined }): boolean => target !== undefined && !links.has(target);
    return filters.length > 0 && filters.every((each) => each.priority === PRIORITY && gone(each));
  });
  for (const { index } of stale) trafficControl.deleteIngress(index, links.get(index) ?? `#${index}`);
  return stale.map(({ index }) => links.get(index) ?? `#${index}`);
}
