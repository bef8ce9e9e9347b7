/** Owns the form in which long image work says how far it is. It prints nothing. */

/** One state of one phase. `done` and `total` are bytes for 'download' and 'verify', layers for 'convert'. */
export interface ImageProgress {
  readonly phase: 'resolve' | 'download' | 'verify' | 'convert' | 'done';
  readonly done: number;
  readonly total: number;
  /** What is worked on: a name or a digest. */
  readonly what: string;
}

export type OnProgress = (progress: ImageProgress) => void;
