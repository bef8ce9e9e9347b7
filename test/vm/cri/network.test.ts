/**
 * The network of pods by CRI, on runc and on tskata: what a container sees of it, packets of both families in every
 * direction, host ports, counters, port-forward. What was seen must be equal without exception; the network of the host
 * alone is for runc only.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Containerd } from '../../helpers/containerd.ts';
import { Comparison } from '../../helpers/cri/comparison.ts';
import { NamespaceMode } from '../../helpers/cri/generated/cri.ts';
import { type Handler, Pod, type PodContainer } from '../../helpers/cri/pod.ts';
import { buildTalk, type Talk } from '../../helpers/talk.ts';

const HANDLERS: readonly Handler[] = ['runc', 'tskata'];
const GATEWAYS = ['10.88.0.1', 'fd88::1'] as const;
const PORT = 7000;
const LOCAL_PORT = 7001;
const TCP = 0;
const SLOW_MS = 240_000;

let containerd: Containerd;
let talk: Talk;
const comparison = new Comparison();

beforeAll(async () => {
  talk = await buildTalk();
  containerd = await Containerd.start();
});

afterAll(async () => {
  await containerd?.dispose();
  talk.remove();
});

/** A pod of one container that answers on PORT. */
async function serving(
  handler: Handler,
  hostPort: number,
): Promise<{ pod: Pod; container: PodContainer; ips: string[] }> {
  const portMappings = [{ protocol: TCP, containerPort: PORT, hostPort }];
  const pod = await Pod.run(containerd, handler, { portMappings });
  const mounts = [{ containerPath: '/talk', hostPath: talk.program, readonly: true }];
  const container = await pod.start({ name: 'server', mounts, command: ['/talk', 'serve', String(PORT)] });
  const network = (await pod.status()).network;
  return { pod, container, ips: [network?.ip ?? '', ...(network?.additionalIps ?? []).map(({ ip }) => ip)] };
}

describe.each(HANDLERS)('pods on %s', (handler) => {
  const see = (name: string, value: string | number | boolean) => comparison.see(handler, name, value);
  const hostPort = handler === 'runc' ? 18_080 : 18_081;
  let one: Awaited<ReturnType<typeof serving>>;
  let two: Awaited<ReturnType<typeof serving>>;

  beforeAll(async () => {
    one = await serving(handler, hostPort);
    two = await serving(handler, 0);
  }, SLOW_MS);

  afterAll(async () => {
    await one?.pod.remove();
    await two?.pod.remove();
  });

  /** Without what belongs to one pod only. */
  const spelt = (text: string): string => {
    const names: [string, string][] = [one, two].flatMap(({ ips }, index) =>
      ips.map((ip): [string, string] => [ip, `POD${index}`]),
    );
    return names.reduce((result, [ip, name]) => result.replaceAll(ip, name), text);
  };

  const fromHost = async (protocol: string, address: string, port: number): Promise<string> => {
    const args = [talk.program, 'ask', protocol, address, String(port), 'host'];
    return spelt((await containerd.call(args)).stdout);
  };

  test('a container sees the addresses and routes that CNI gave', { timeout: SLOW_MS }, async () => {
    const own = 'ip -o addr show dev eth0 | grep -o "inet6\\? [^f ][^ ]*\\|inet6 fd[^ ]*" | sort';
    see('addresses', spelt(await one.container.output(own)));
    see(
      'routes',
      spelt(await one.container.output('ip route; ip -6 route | grep -v fe80 | sed "s/ pref .*//" | sort')),
    );
    see('mtu', await one.container.output('cat /sys/class/net/eth0/mtu'));
    see('resolv.conf', await one.container.output('cat /etc/resolv.conf'));
    expect(one.ips).toHaveLength(2);
  });

  test('packets pass between pods and the host', { timeout: SLOW_MS }, async () => {
    for (const [index, gateway] of GATEWAYS.entries()) {
      const there = two.ips[index] ?? '';
      const ping = index === 0 ? 'ping' : 'ping6';
      for (const [name, target] of [
        ['pod', there],
        ['host', gateway],
      ]) {
        const { stdout } = await one.container.exec(ping, '-c', '2', '-W', '10', target ?? '');
        see(`${ping} ${name}`, /\d+% packet loss/.exec(stdout)?.[0] ?? stdout);
      }
      for (const protocol of ['tcp', 'udp']) {
        const { stdout } = await one.container.exec('/talk', 'ask', protocol, there, String(PORT), 'pod');
        see(`${protocol} from pod to pod, ${index}`, spelt(stdout));
        see(`${protocol} from host to pod, ${index}`, await fromHost(protocol, there, PORT));
      }
    }
  });

  test('a host port leads into the pod', async () => {
    expect(await fromHost('tcp', GATEWAYS[0], hostPort)).toContain(' said host');
  });

  test('port-forward reaches a server, also one that listens on the loopback alone, and is refused where none does', {
    timeout: SLOW_MS,
  }, async () => {
    const forwarded = await one.pod.forward(PORT, 'kubectl\n');
    see('forwarded', forwarded.stdout);
    expect(forwarded.stdout).toBe('127.0.0.1 said kubectl\n');
    await one.container.exec('sh', '-c', `nc -l -p ${LOCAL_PORT} -s 127.0.0.1 -e echo local >/dev/null 2>&1 &`);
    see('forwarded to the loopback', (await one.pod.forward(LOCAL_PORT, '')).stdout);
    see('forwarded to nobody', (await one.pod.forward(9, '')).stdout);
  });

  test('the counters of the network rise', async () => {
    const { stats } = await containerd.cri.runtime.podSandboxStats({ podSandboxId: one.pod.id });
    const { name, rxBytes, txBytes } = stats?.linux?.network?.defaultInterface ?? {};
    see('counted interface', name ?? 'none');
    expect(rxBytes?.value).toBeGreaterThan(1000n);
    expect(txBytes?.value).toBeGreaterThan(1000n);
  });
});

test('both saw the same', () => {
  expect(comparison.problems({})).toEqual([]);
});

test('the network of the host is refused with its reason, and nothing is left', async () => {
  const namespaceOptions = { network: NamespaceMode.NODE };
  const linux = { securityContext: { namespaceOptions } };
  await expect(Pod.run(containerd, 'tskata', { linux })).rejects.toThrow(
    /asks for the network of the host \(hostNetwork: true.*give the pod a network of its own/,
  );
  for (const { id } of (await containerd.cri.runtime.listPodSandbox({})).items) {
    await containerd.cri.runtime.removePodSandbox({ podSandboxId: id });
  }
  await containerd.settled();
});
