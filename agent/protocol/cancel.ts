/**
 * Cancellation without an environment: what the protocol needs of AbortSignal, which QuickJS does not have.
 */

/** Tells that a result is no longer wanted. Node's AbortSignal is one. */
export interface CancelSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** The sending side of a CancelSignal, and the signal itself. */
export class CancelSource implements CancelSignal {
  private listeners: Set<() => void> | undefined;
  aborted = false;
  reason: unknown = undefined;

  addEventListener(_type: 'abort', listener: () => void): void {
    if (this.aborted) return;
    this.listeners ??= new Set();
    this.listeners.add(listener);
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    this.listeners?.delete(listener);
  }

  /** Cancels. Only the first call counts; listeners run in the order in which they came. */
  abort(reason: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    const listeners = this.listeners;
    this.listeners = undefined;
    if (listeners) for (const listener of listeners) listener();
  }
}
