/**
 * Owns the checks of what the host sends: forms and bounds, each refusal naming the field. The host is trusted with a
 * sandbox, not with the agent's health: a mistake of its own must be an answer, not a wrong path or a full memory.
 */
import { Code, TskataError } from '../protocol/errors.ts';

/** Forms of names. */
const CONTAINER_ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
const STORAGE_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;
const TAG = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,35}$/;

const MAX_PATH = 4095;

/** A refusal: "field: fact". */
export function invalid(field: string, fact: string): TskataError {
  return new TskataError(Code.InvalidArgument, `${field}: ${fact}`);
}

/** For messages: bounded, and without control characters. */
export function quoted(text: string): string {
  const bounded = text.length > 64 ? `${text.slice(0, 64)}...` : text;
  return JSON.stringify(bounded);
}

function form(field: string, text: string, pattern: RegExp): string {
  if (pattern.test(text) && text !== '.' && text !== '..') return text;
  throw invalid(field, `${quoted(text)} is not of the form ${pattern.source}`);
}

/** An id of a sandbox, container or exec. */
export function checkId(field: string, id: string): string {
  return form(field, id, CONTAINER_ID);
}

export function checkStorageId(field: string, id: string): string {
  return form(field, id, STORAGE_ID);
}

export function checkTag(field: string, tag: string): string {
  return form(field, tag, TAG);
}

/** A string without NUL, bounded. */
export function checkText(field: string, text: string, maxLength: number): string {
  if (text.length > maxLength) throw invalid(field, `longer than ${maxLength} characters`);
  if (text.includes('\0')) throw invalid(field, 'contains a NUL');
  return text;
}

/** An absolute path. */
export function checkAbsolute(field: string, path: string): string {
  checkText(field, path, MAX_PATH);
  if (!path.startsWith('/')) throw invalid(field, `${quoted(path)} is not an absolute path`);
  return path;
}

/** A relative path without ".."; empty is the root of what it is relative to. */
export function checkRelative(field: string, path: string): string {
  checkText(field, path, MAX_PATH);
  if (path.startsWith('/') || path.split('/').includes('..')) {
    throw invalid(field, `${quoted(path)} is not a relative path without ".."`);
  }
  return path;
}

export function checkCount(field: string, list: { readonly length: number }, maximum: number): void {
  if (list.length > maximum) throw invalid(field, `has ${list.length} entries, at most ${maximum} are allowed`);
}

/** A 64-bit field that must be a small number. */
export function checkNumber(field: string, value: bigint, minimum: number, maximum: number): number {
  if (value < BigInt(minimum) || value > BigInt(maximum)) {
    throw invalid(field, `${value} is not between ${minimum} and ${maximum}`);
  }
  return Number(value);
}
