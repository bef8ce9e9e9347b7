/**
 * The keeper's view of a pod's network namespace: what is in it, when that changes, which interfaces are carried into
 * the machine, and the listener on its loopback. Its sockets were made in the namespace and stay there.
 */
import type { NetworkState } from '../../agent/protocol/generated/helper.ts';
import type { Init } from '../../agent/protocol/message.ts';
import { close } from '../../agent/sys/calls.ts';
import { NetlinkMonitor, RTMGRP } from '../../agent/sys/netlink.ts';
import { RouteSocket } from '../../agent/sys/rtnetlink.ts';
import type { Loop, Sys } from '../../agent/sys/sys.ts';
import { TrafficControl } from '../../agent/sys/traffic-control.ts';
import { CarriedInterfaces } from './carried-interfaces.ts';
import { listenOnLoopback } from './loopback.ts';
import type { SandboxNetwork } from './namespaces.ts';
import { readNetworkState } from './network-state.ts';
import { QuietSignal } from './quiet-signal.ts';

const GROUPS = Object.values(RTMGRP).reduce((mask, group) => mask | group, 0);

export class PodNetwork {
  readonly #sys: Sys;
  readonly #network: SandboxNetwork;
  readonly #routes: RouteSocket;
  readonly #trafficControl: TrafficControl;
  readonly #monitor: NetlinkMonitor;
  readonly #changes: QuietSignal;
  readonly carried: CarriedInterfaces;
  #loopbackLink: number | undefined;

  /** `network` is open. */
  constructor(sys: Sys, loop: Loop, network: SandboxNetwork) {
    this.#sys = sys;
    this.#network = network;
    this.#changes = new QuietSignal(loop);
    const [routes, trafficControl, monitor] = network.inside(() => [
      new RouteSocket(sys),
      new TrafficControl(sys),
      new NetlinkMonitor(sys, loop, GROUPS, () => this.#changes.change()),
    ]);
    this.#routes = routes;
    this.#trafficControl = trafficControl;
    this.#monitor = monitor;
    this.carried = new CarriedInterfaces({
      sys,
      routes,
      trafficControl,
      makeTap: (name) => network.makeTap(name),
    });
  }

  /** What is there now; `changed` tells of what comes after. */
  read(): Init<NetworkState> {
    // The monitor's messages of before are read after this: at worst the same state is told of again.
    this.#changes.reset();
    return readNetworkState(this.#routes);
  }

  changed(): Promise<void> {
    return this.#changes.wait();
  }

  /** Listens on every port of the loopback. Returns the listening socket, which is the caller's to close. */
  listenOnLoopback(): number {
    const { listener, link } = this.#network.inside(() => listenOnLoopback(this.#sys, this.#network.fd));
    if (this.#loopbackLink !== undefined) close(this.#sys, this.#loopbackLink);
    this.#loopbackLink = link;
    return listener;
  }

  /** Gives the interfaces back to the namespace. */
  end(): void {
    this.#monitor.close();
    this.#changes.reset();
    if (this.#loopbackLink !== undefined) close(this.#sys, this.#loopbackLink);
    this.carried.end();
    this.#routes.close();
    this.#trafficControl.close();
  }
}
