/**
 * Structured lifetimes: the undo of an acquisition is registered where it is acquired, and all run once, in reverse.
 * It knows nothing of what is acquired.
 */
import { TskataError } from './errors.ts';

type Undo = () => void | Promise<void>;

/**
 * Owns things until `close`. A failed step closes the scope; a successful one hands its things on with `release`.
 *
 *     const scope = new Scope();
 *     try { const disk = await open(); scope.add(() => disk.close()); ... }
 *     catch (error) { await scope.close(); throw error; }
 */
export class Scope {
  private undos: Undo[] = [];
  private closing: Promise<readonly TskataError[]> | undefined;

  /** Registers an undo. In a scope that is already closed it runs at once, so that nothing can slip through. */
  add(undo: Undo): void {
    if (this.closing === undefined) {
      this.undos.push(undo);
      return;
    }
    const before = this.closing;
    this.closing = before.then(async (errors) => [...errors, ...(await runAll([undo]))]);
  }

  /** Takes the undos out, for another scope or for good. */
  release(): readonly Undo[] {
    const undos = this.undos;
    this.undos = [];
    return undos;
  }

  get closed(): boolean {
    return this.closing !== undefined;
  }

  /** Runs the undos, last first, each after the one before has ended; a failing one stops none. Returns what failed. */
  close(): Promise<readonly TskataError[]> {
    this.closing ??= runAll(this.release());
    return this.closing;
  }
}

async function runAll(undos: readonly Undo[]): Promise<readonly TskataError[]> {
  const errors: TskataError[] = [];
  for (const undo of [...undos].reverse()) {
    try {
      await undo();
    } catch (error) {
      errors.push(TskataError.from(error));
    }
  }
  return errors;
}
