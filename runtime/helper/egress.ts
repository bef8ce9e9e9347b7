/**
 * Which destinations a confined program may reach, as eBPF programs for its cgroup. Pure: it writes instructions and
 * loads nothing.
 *
 * Two kinds together. The address programs refuse a connect or sendto at once, with an error that the program can pass
 * on. The packet program sees every packet that leaves one of its sockets, whatever call sent it (ICMP too), and knows
 * the interface: what goes out through the loopback interface is for the host itself, by whatever address, also one
 * that the host got later.
 */

import { BPF_ATTACH, BPF_PROGRAM, BpfAssembler, type BpfProgram, type Label } from '../../agent/sys/bpf.ts';
import { type Cidr, maskOf, parseCidr } from './cidr.ts';

/** The rules in the order in which they are asked; what none names is allowed. */
export interface EgressRules {
  /** Addresses whose port 53 is reachable. */
  readonly resolvers: readonly string[];
  readonly allowed: readonly string[];
  readonly denied: readonly string[];
  /** Refuses what the host would deliver to itself. */
  readonly denyHost: boolean;
}

/** Offsets in struct bpf_sock_addr and struct __sk_buff. */
const SOCK_ADDR_IP4 = 4;
const SOCK_ADDR_IP6 = 8;
const SOCK_ADDR_PORT = 24;
const SKB_PROTOCOL = 16;
const SKB_IFINDEX = 40;

/** bpf_skb_load_bytes(skb, offset, to, length). */
const HELPER_SKB_LOAD_BYTES = 26;

/** EtherTypes as a little-endian read sees them. */
const ETHERTYPE_IP = 0x0008;
const ETHERTYPE_IP6 = 0xdd86;

const PORT_DNS = 53 << 8;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;

/** The loopback interface has this index in every network namespace. */
const LOOPBACK_IFINDEX = 1;

/** Scratch on the stack for the packet program. */
const STACK_ADDRESS = -16;
const STACK_SMALL = -24;

interface ParsedRules {
  readonly resolvers: readonly Cidr[];
  readonly allowed: readonly Cidr[];
  readonly denied: readonly Cidr[];
  readonly denyHost: boolean;
}

/** The programs for these rules. Throws InvalidArgument for a range that is none. */
export function buildEgressPrograms(rules: EgressRules): BpfProgram[] {
  const parsed: ParsedRules = {
    resolvers: rules.resolvers.map(parseCidr),
    allowed: rules.allowed.map(parseCidr),
    denied: rules.denied.map(parseCidr),
    denyHost: rules.denyHost,
  };
  const four = addressProgram(ofFamily(parsed, 4), SOCK_ADDR_IP4, 1);
  const six = addressProgram(ofFamily(parsed, 16), SOCK_ADDR_IP6, 4);
  const programType = BPF_PROGRAM.CGROUP_SOCK_ADDR;
  return [
    { name: 'connect4', programType, attachType: BPF_ATTACH.INET4_CONNECT, code: four },
    { name: 'connect6', programType, attachType: BPF_ATTACH.INET6_CONNECT, code: six },
    { name: 'sendmsg4', programType, attachType: BPF_ATTACH.UDP4_SENDMSG, code: four },
    { name: 'sendmsg6', programType, attachType: BPF_ATTACH.UDP6_SENDMSG, code: six },
    {
      name: 'egress',
      programType: BPF_PROGRAM.CGROUP_SKB,
      attachType: BPF_ATTACH.INET_EGRESS,
      code: packetProgram(parsed),
    },
  ];
}

function ofFamily(rules: ParsedRules, length: number): ParsedRules {
  const keep = (list: readonly Cidr[]): Cidr[] => list.filter((cidr) => cidr.bytes.length === length);
  return {
    resolvers: keep(rules.resolvers),
    allowed: keep(rules.allowed),
    denied: keep(rules.denied),
    denyHost: rules.denyHost,
  };
}

/** r6 context, r7 port; the destination's words are loaded for each rule. */
function addressProgram(rules: ParsedRules, offset: number, words: number): Uint8Array {
  const asm = new BpfAssembler();
  const allow = asm.label();
  const deny = asm.label();
  asm.move(6, 1).load32(7, 6, SOCK_ADDR_PORT);
  decide(asm, rules, words, (to, word) => asm.load32(to, 6, offset + 4 * word), allow, deny);
  return asm.place(allow).exit(1).place(deny).exit(0).assemble();
}

/** r6 packet, r7 port or 0; the destination is copied to the stack first. */
function packetProgram(rules: ParsedRules): Uint8Array {
  const asm = new BpfAssembler();
  const allow = asm.label();
  const deny = asm.label();
  const six = asm.label();
  asm.move(6, 1).load32(2, 6, SKB_PROTOCOL).jumpIfEqual(2, ETHERTYPE_IP6, six).jumpIfNotEqual(2, ETHERTYPE_IP, deny);
  packetFamily(asm, ofFamily(rules, 4), { address: 16, words: 1, protocol: 9 }, allow, deny);
  asm.place(six);
  packetFamily(asm, ofFamily(rules, 16), { address: 24, words: 4, protocol: 6 }, allow, deny);
  return asm.place(allow).exit(1).place(deny).exit(0).assemble();
}

/** Offsets in an IP header: of the destination and of the byte that names the protocol. */
interface HeaderLayout {
  readonly address: number;
  readonly words: 1 | 4;
  readonly protocol: number;
}

function packetFamily(asm: BpfAssembler, rules: ParsedRules, layout: HeaderLayout, allow: Label, deny: Label): void {
  loadBytes(asm, layout.address, STACK_ADDRESS, 4 * layout.words, deny);
  if (rules.resolvers.length > 0) loadPort(asm, layout, deny);
  decide(asm, rules, layout.words, (to, word) => asm.load32(to, 10, STACK_ADDRESS + 4 * word), undefined, deny, allow);
  if (rules.denyHost) asm.load32(2, 6, SKB_IFINDEX).jumpIfEqual(2, LOOPBACK_IFINDEX, deny);
  asm.jump(allow);
}

/** Copies packet bytes to the stack; a packet that is too short is refused. */
function loadBytes(asm: BpfAssembler, offset: number, stack: number, length: number, deny: Label): void {
  asm.move(1, 6).moveImmediate(2, offset).move(3, 10).addImmediate(3, stack).moveImmediate(4, length);
  asm.callHelper(HELPER_SKB_LOAD_BYTES).jumpIfNegative(0, deny);
}

/** r7 = destination port of TCP or UDP (network order), else 0. IPv6 with extension headers counts as neither. */
function loadPort(asm: BpfAssembler, layout: HeaderLayout, deny: Label): void {
  const transport = asm.label();
  const done = asm.label();
  asm.moveImmediate(7, 0);
  loadBytes(asm, layout.protocol, STACK_SMALL, 1, deny);
  asm.load8(2, 10, STACK_SMALL).jumpIfEqual(2, PROTOCOL_UDP, transport).jumpIfNotEqual(2, PROTOCOL_TCP, done);
  asm.place(transport);
  if (layout.words === 4) asm.moveImmediate(8, 40);
  else {
    loadBytes(asm, 0, STACK_SMALL, 1, deny);
    asm.load8(8, 10, STACK_SMALL).and32Immediate(8, 0x0f).shiftLeft32Immediate(8, 2);
  }
  asm.addImmediate(8, 2).move(1, 6).move(2, 8).move(3, 10).addImmediate(3, STACK_SMALL).moveImmediate(4, 2);
  asm.callHelper(HELPER_SKB_LOAD_BYTES).jumpIfNegative(0, deny).load16(7, 10, STACK_SMALL).place(done);
}

/**
 * The rules in order. `end` is where an address goes that no rule names (undefined: falls through); `matched` is where
 * an allowed one goes.
 */
function decide(
  asm: BpfAssembler,
  rules: ParsedRules,
  words: number,
  load: (to: number, word: number) => void,
  end: Label | undefined,
  deny: Label,
  matched: Label | undefined = end,
): void {
  const allow = matched ?? asm.label();
  for (const cidr of rules.resolvers) {
    const next = asm.label();
    asm.jumpIfNotEqual(7, PORT_DNS, next);
    matchRule(asm, cidr, words, load, allow);
    asm.place(next);
  }
  for (const cidr of rules.allowed) matchRule(asm, cidr, words, load, allow);
  for (const cidr of rules.denied) matchRule(asm, cidr, words, load, deny);
  if (end !== undefined) asm.jump(end);
}

/** Goes to `hit` when the destination is in the range. */
function matchRule(
  asm: BpfAssembler,
  cidr: Cidr,
  words: number,
  load: (to: number, word: number) => void,
  hit: Label,
): void {
  const miss = asm.label();
  const mask = new DataView(maskOf(cidr.prefix, cidr.bytes.length).buffer);
  const value = new DataView(cidr.bytes.buffer, cidr.bytes.byteOffset);
  for (let word = 0; word < words; word++) {
    const bits = mask.getUint32(4 * word, true);
    if (bits === 0) break;
    load(2, word);
    asm.and32Immediate(2, bits).jumpIfNotEqual(2, value.getUint32(4 * word, true), miss);
  }
  asm.jump(hit).place(miss);
}
