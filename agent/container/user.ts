/**
 * Owns the meaning of "user[:group]" against a container's /etc/passwd and /etc/group, as runc resolves it. The files
 * come from the image: they are untrusted text, read elsewhere, bounded there.
 */
import type { Identity, ProcessSpec } from './spec.ts';

/** A user that the image does not know. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/** The two files; empty when the image lacks them. */
export interface UserFiles {
  readonly passwd: string;
  readonly group: string;
}

/** Who a process is, and the home directory for HOME. */
export interface ResolvedUser {
  readonly identity: Identity;
  readonly home: string;
}

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

const MAX_ID = 2 ** 31 - 1;

/** A decimal id, or undefined. */
function parseId(text: string): number | undefined {
  if (!/^[0-9]{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= MAX_ID ? id : undefined;
}

function records(text: string): string[][] {
  const lines: string[][] = [];
  for (const line of text.split('\n')) {
    const trimmed = line.trim();
    if (trimmed !== '' && !trimmed.startsWith('#')) lines.push(trimmed.split(':'));
  }
  return lines;
}

function parsePasswd(text: string): PasswdEntry[] {
  const entries: PasswdEntry[] = [];
  for (const [name = '', , uid = '', gid = '', , home = ''] of records(text)) {
    entries.push({ name, uid: parseId(uid) ?? 0, gid: parseId(gid) ?? 0, home });
  }
  return entries;
}

function parseGroup(text: string): GroupEntry[] {
  const entries: GroupEntry[] = [];
  for (const [name = '', , gid = '', members = ''] of records(text)) {
    entries.push({ name, gid: parseId(gid) ?? 0, members: members.split(',') });
  }
  return entries;
}

/** Whether the files must be read at all. */
export function needsUserFiles(process: ProcessSpec): boolean {
  return process.username !== '' || !process.env.some((entry) => entry.startsWith('HOME='));
}

/** Resolves the process's user. Throws UserError. */
export function resolveUser(process: ProcessSpec, files: UserFiles): ResolvedUser {
  const passwd = parsePasswd(files.passwd);
  if (process.username === '') {
    const home = passwd.find((entry) => entry.uid === process.uid)?.home ?? '';
    const identity = { uid: process.uid, gid: process.gid, groups: process.additionalGids };
    return { identity, home: home === '' ? '/' : home };
  }
  const colon = process.username.indexOf(':');
  const user = colon < 0 ? process.username : process.username.slice(0, colon);
  const group = colon < 0 ? '' : process.username.slice(colon + 1);
  const found = findUser(passwd, user);
  const { gid, groups } = findGroups(parseGroup(files.group), group, found);
  const all = [...new Set([...groups, ...process.additionalGids])];
  return { identity: { uid: found.uid, gid, groups: all }, home: found.home === '' ? '/' : found.home };
}

/** An empty user is 0. A number needs no entry. */
function findUser(passwd: readonly PasswdEntry[], user: string): PasswdEntry {
  const id = user === '' ? 0 : parseId(user);
  const entry = passwd.find((candidate) => candidate.name === user || (id !== undefined && candidate.uid === id));
  if (entry !== undefined) return entry;
  if (id === undefined) throw new UserError(`unable to find user ${user}: no matching entries in passwd file`);
  return { name: '', uid: id, gid: 0, home: '' };
}

/** With a group: that group and no other. Without: the user's own, and those that list the user. */
function findGroups(
  entries: readonly GroupEntry[],
  group: string,
  user: PasswdEntry,
): { readonly gid: number; readonly groups: readonly number[] } {
  if (group === '') {
    const listed = user.name === '' ? [] : entries.filter((entry) => entry.members.includes(user.name));
    return { gid: user.gid, groups: listed.map((entry) => entry.gid) };
  }
  const id = parseId(group);
  const entry = entries.find((candidate) => candidate.name === group || (id !== undefined && candidate.gid === id));
  const gid = entry?.gid ?? id;
  if (gid === undefined) throw new UserError(`unable to find group ${group}: no matching entries in group file`);
  return { gid, groups: [] };
}

/** The environment with HOME added when it lacks one. */
export function withHome(env: readonly string[], home: string): readonly string[] {
  return env.some((entry) => entry.startsWith('HOME=')) ? env : [...env, `HOME=${home}`];
}
