import { Injectable } from '@nestjs/common';
import type { CompiledFlow } from '@opsloop/contracts';
import type { PreemptFacts } from './policies/policy-verdict.pure.js';
import type { StartableRow } from './admit/admission-row.js';

/** What an admission leaves to the starter of its process, so that nothing is read again. */
export interface FreshAdmission {
  row: StartableRow;
  compiled: CompiledFlow;
  /** `performance.now()` of the commit. */
  at: number;
}

interface SignalArgs {
  /** Committed as admitted by this process: start it at once. With `fresh` it is already claimed for that. */
  admitted: [id: string, fresh?: FreshAdmission];
  /** Claims or places in the queue became free. */
  released: [];
  /** People freed what runs wait for, or another process freed something. */
  freed: [];
  /** A lock for work outside was granted, committed. */
  granted: [id: string];
  /** Final, committed. */
  ended: [id: string];
  /** What runs brought was observed. */
  verified: [];
  /** Documents of these kinds changed somewhere. */
  documents: [kinds: readonly string[]];
  /** Lines of this run were stored. */
  logged: [id: string];
  /** This one waits for locks of runs that are to give way. */
  preempt: [id: string, facts: PreemptFacts];
}

type Listener<K extends keyof SignalArgs> = (...args: SignalArgs[K]) => void;

/** Wakes the next part of this process after a commit. Only ever a hint: each listener also has its own loop. */
@Injectable()
export class Signals {
  private readonly listeners: { [K in keyof SignalArgs]: Set<Listener<K>> } = {
    admitted: new Set(),
    released: new Set(),
    freed: new Set(),
    granted: new Set(),
    ended: new Set(),
    verified: new Set(),
    documents: new Set(),
    logged: new Set(),
    preempt: new Set(),
  };

  on<K extends keyof SignalArgs>(name: K, listener: Listener<K>): () => void {
    this.listeners[name].add(listener);
    return () => void this.listeners[name].delete(listener);
  }

  emit<K extends keyof SignalArgs>(name: K, ...args: SignalArgs[K]): void {
    for (const listener of this.listeners[name]) listener(...args);
  }
}
