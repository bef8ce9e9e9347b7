/** The call that opens a stream to an address in the guest. */
import { joinConnection } from '../network/connection.ts';
import { dial, parseTarget } from '../network/dial.ts';
import type { Agent } from '../protocol/generated/agent.ts';
import type { Handlers } from '../protocol/service.ts';
import { close } from '../sys/calls.ts';
import { invalid } from './check.ts';
import type { ServiceContext } from './context.ts';

/** Handlers of this group. */
export function dialHandlers(context: ServiceContext): Pick<Handlers<typeof Agent>, 'dial'> {
  const { sandbox, accept, tools } = context;
  return {
    async dial(request) {
      if (request.stream === 0) throw invalid('stream', 'is missing');
      const target = parseTarget(request.network, request.address);
      const container = request.containerId === '' ? undefined : sandbox.container(request.containerId);
      const fd = await dial(tools, target, container);
      try {
        const kind = target.network === 'udp' ? 'datagrams' : 'bytes';
        joinConnection(tools.sys, tools.loop, fd, accept(request.stream), kind);
      } catch (error) {
        close(tools.sys, fd);
        throw error;
      }
      return {};
    },
  };
}
