/**
 * Mode `release-network PATH`: gives a network namespace back what a killed keeper held of it, which is the ingress of
 * the carried interfaces. A namespace that is gone, and one that a living keeper holds, are left as they are.
 */
import { exists } from '../../agent/sys/calls.ts';
import { RouteSocket } from '../../agent/sys/rtnetlink.ts';
import type { Sys } from '../../agent/sys/sys.ts';
import { TrafficControl } from '../../agent/sys/traffic-control.ts';
import { removeStale } from './carried-interfaces.ts';
import { SandboxNetwork } from './namespaces.ts';

/** Returns the names of the interfaces that were given back. */
export function releaseNetwork(sys: Sys, path: string): string[] {
  if (!exists(sys, path)) return [];
  const network = new SandboxNetwork(sys);
  network.open(path, 0);
  try {
    return network.inside(() => {
      const routes = new RouteSocket(sys);
      const trafficControl = new TrafficControl(sys);
      try {
        return removeStale(routes, trafficControl);
      } finally {
        routes.close();
        trafficControl.close();
      }
    });
  } finally {
    network.close();
  }
}
