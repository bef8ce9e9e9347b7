/** Calls about the sandbox and the guest as a whole. */

import { reseed, setClock, setHostname } from '../boot/identity.ts';
import { endSandbox, powerOff } from '../boot/shutdown.ts';
import { isSysctlKey, sysctlPath } from '../container/plan/sysctl.ts';
import { configureNetwork } from '../network/configure.ts';
import { Code, TskataError } from '../protocol/errors.ts';
import type { Agent, CreateSandboxRequest, GuestInfoResponse } from '../protocol/generated/agent.ts';
import { EVENTS_POLL_MS, PROTOCOL_VERSION } from '../protocol/limits.ts';
import type { Handlers } from '../protocol/service.ts';
import { readDirectory, readFile, writeFile } from '../sys/calls.ts';
import { CLOCK } from '../sys/linux.ts';
import { clockNs } from '../sys/processes.ts';
import type { Sys } from '../sys/sys.ts';
import { checkText, invalid, quoted } from './check.ts';
import type { ServiceContext } from './context.ts';

declare const TSKATA_VERSION: string;

const EMPTY = {};
const PAGE_BYTES = 4096n;
/** Beyond the contract's version: what this agent can do. */
const FEATURES: readonly string[] = ['dial', 'events', 'seccomp', 'user-namespace', 'joined-pid'];

type Names =
  | 'hello'
  | 'createSandbox'
  | 'destroySandbox'
  | 'forgetShareNames'
  | 'configureNetwork'
  | 'setClock'
  | 'reseed'
  | 'nextEvents'
  | 'guestInfo';

/** Handlers of this group. */
export function sandboxHandlers(context: ServiceContext): Pick<Handlers<typeof Agent>, Names> {
  const { sandbox, uevents, log } = context;
  const { sys, loop } = context.tools;
  return {
    hello({ protocol }) {
      if (Math.floor(protocol / 1000) !== Math.floor(PROTOCOL_VERSION / 1000)) {
        const fact = `the agent speaks version ${PROTOCOL_VERSION}, the host ${protocol}`;
        throw new TskataError(Code.FailedPrecondition, `hello: ${fact}: use the guest image of this version`);
      }
      return {
        protocol: PROTOCOL_VERSION,
        agentVersion: TSKATA_VERSION,
        kernelRelease: readFile(sys, '/proc/sys/kernel/osrelease').trim(),
        startedNs: context.startedNs,
        ...context.start,
        features: FEATURES,
      };
    },
    async createSandbox(request) {
      sandbox.create(request.sandboxId);
      giveIdentity(sys, request);
      if (request.network !== undefined) await configureNetwork(sys, uevents, request.network);
      log('sandbox created', { id: request.sandboxId });
      return EMPTY;
    },
    async destroySandbox(request) {
      await endSandbox(loop, sandbox, log);
      if (request.powerOff) powerOff(sys, loop, log);
      return EMPTY;
    },
    async configureNetwork({ network }) {
      if (network === undefined) throw invalid('network', 'is missing');
      await configureNetwork(sys, uevents, network);
      return EMPTY;
    },
    async forgetShareNames({ tag, names }) {
      await sandbox.storages.forgetShareNames(tag, names);
      return EMPTY;
    },
    setClock({ wallClockNs }) {
      setClock(sys, wallClockNs);
      return EMPTY;
    },
    reseed({ entropy }) {
      reseed(sys, entropy);
      return EMPTY;
    },
    async nextEvents({ after }, { signal }) {
      return { events: await sandbox.events.after(after, EVENTS_POLL_MS, signal) };
    },
    guestInfo: () => guestInfo(sys),
  };
}

function giveIdentity(sys: Sys, request: CreateSandboxRequest): void {
  setHostname(sys, request.hostname);
  setClock(sys, request.wallClockNs);
  if (request.entropy.length > 0) reseed(sys, request.entropy);
  for (const [key, value] of request.sysctls) {
    if (!isSysctlKey(key)) throw invalid('sysctls', `${quoted(key)} is not a parameter`);
    writeFile(sys, sysctlPath(key), checkText('sysctls', value, 4096));
  }
}

function guestInfo(sys: Sys): GuestInfoResponse {
  const memory = readFile(sys, '/proc/meminfo');
  const kib = (name: string): bigint => BigInt(new RegExp(`^${name}: +([0-9]+) kB$`, 'm').exec(memory)?.[1] ?? '0');
  const resident = BigInt(readFile(sys, '/proc/self/statm').split(' ')[1] ?? '0') * PAGE_BYTES;
  return {
    memoryTotal: kib('MemTotal') * 1024n,
    memoryAvailable: kib('MemAvailable') * 1024n,
    uptimeNs: clockNs(sys, CLOCK.BOOTTIME),
    agentResident: resident,
    openDescriptors: readDirectory(sys, '/proc/self/fd').length,
  };
}
