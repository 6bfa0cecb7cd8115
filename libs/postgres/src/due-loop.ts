import type { Logger } from '@opsloop/platform';

/** Deadlines are promised to a quarter of a second. */
const EVERY_MS = 250;
/** The same batch as the bus: large enough to share a commit, small enough to stay below 50 ms. */
const BATCH = 64;
/** After an error the loop waits longer, so that an unavailable database is not hammered. */
const AFTER_ERROR_MS = 1_000;

export interface DueLoopOptions {
  name: string;
  everyMs?: number;
  batch?: number;
  /** Looks around without being asked: whoever makes time pass lets everything else of a moment come first. */
  patrol?: boolean;
  logger: Pick<Logger, 'error'>;
  /** Handles at most a batch of due items, `FOR UPDATE SKIP LOCKED`; returns how many it did. */
  run: (batch: number) => Promise<number>;
}

export interface DueLoop {
  readonly patrol: boolean;
  /** Something became due now. */
  poke(): void;
  /** Runs now and again until a run finds nothing; answers how much was done. For whoever makes time pass. */
  drain(): Promise<number>;
  /** Waits for the run in flight; starts no other. */
  stop(): Promise<void>;
}

/** The loops of this process. */
export const dueLoops: ReadonlySet<DueLoop> = new Set();

/** The one loop behind every deadline: runs each `everyMs`, and at once while runs return full batches. */
export function startDueLoop(options: DueLoopOptions & { db?: unknown }): DueLoop {
  const { everyMs = EVERY_MS, batch = BATCH, patrol = false } = options;
  let stopped = false;
  let poked = false;
  let total = 0;
  let timer: NodeJS.Timeout | undefined;
  let current: Promise<void> | undefined;

  const turn = async (): Promise<void> => {
    let wait = everyMs;
    do {
      poked = false;
      try {
        const done = await options.run(batch);
        total += done;
        if (done >= batch) poked = true;
      } catch (error) {
        options.logger.error('a due-loop run failed', { loop: options.name, error });
        wait = Math.max(everyMs, AFTER_ERROR_MS);
        poked = false;
      }
    } while (poked && !stopped);
    current = undefined;
    if (!stopped) timer = setTimeout(start, wait);
  };
  const start = (): void => {
    clearTimeout(timer);
    current = turn();
  };
  timer = setTimeout(start, everyMs);

  const loop: DueLoop = {
    patrol,
    poke: () => {
      poked = true;
      if (current === undefined && !stopped) start();
    },
    drain: async () => {
      const before = total;
      for (let last = -1; last !== total && !stopped;) {
        last = total;
        loop.poke();
        await current;
      }
      return total - before;
    },
    stop: async () => {
      stopped = true;
      (dueLoops as Set<DueLoop>).delete(loop);
      clearTimeout(timer);
      await current;
    },
  };
  (dueLoops as Set<DueLoop>).add(loop);
  return loop;
}
