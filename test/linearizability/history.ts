/** What clients asked of the mutex, what they were told, and when. */
export interface HistoryClaim {
  /** Index of a path of the history. */
  path: number;
  x: boolean;
}

export interface Op {
  client: number;
  /** Nanoseconds; an answer that never came returns at the end of time. */
  call: number;
  return: number;
  op: 'acquire' | 'release' | 'assert';
  holder: number;
  claims: HistoryClaim[];
  fence: number;
  result: 'granted' | 'busy' | 'waiting' | 'released' | 'current' | 'stale' | 'unknown';
}

export interface History {
  paths: string[];
  /** Pairs of paths: the first is a member of the second, or of a group that is. */
  members?: [number, number][];
  /** False when somebody waits in a queue: then a lock may be refused that nobody holds. */
  strictBusy: boolean;
  ops: Op[];
}

export const END_OF_TIME = Number.MAX_SAFE_INTEGER;
