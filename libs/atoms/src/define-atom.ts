import { OpsError, type AtomContext, type AtomDocument, type Json, type JsonObject } from '@opsloop/contracts';
import type { JobState } from './job.js';
import type { AtomLock, LockOptions } from './locks.js';

/** What an atom receives. */
export interface AtomArguments<I> {
  input: I;
  context: AtomContext;
  /** Aborted when the step is cancelled or the worker shuts down; reaches a long call only while it heartbeats. */
  signal: AbortSignal;
  /** Tells the server that the work goes on; shown as progress of the step. */
  heartbeat(progress?: { percent?: number; message?: string }): void;
  /**
   * Takes a lock besides those of the run, under the run's admission: fair to nobody, only tried, since the run holds
   * others already. It is renewed by itself, and given back when the atom ends, however that ends; `signal` is aborted when
   * it is lost. Steps of one run keep each other out with it as well.
   */
  lock(paths: string | readonly string[], options?: LockOptions): Promise<AtomLock>;
  /** A line in the log of the run; the last lines stand in the problem when the step fails. Never put a secret in one. */
  log(message: string, fields?: JsonObject): void;
}

/** What the poll and the cancel of a job receive: the id that its start gave. */
export interface JobArguments<I> extends AtomArguments<I> {
  id: string;
}

interface Common<I, O> {
  manifest: AtomDocument;
  /** Answers a dry run: what would happen, without doing it. */
  check?(args: AtomArguments<I>): Promise<O>;
}

/**
 * A team's own atom. The manifest is what the catalog knows; `execute` does the work.
 *
 * `probe` is for `idempotency: probe`: asked before every repeat, it says whether an earlier attempt has done the work
 * already, and with which output.
 */
export interface AtomDefinition<I = Json, O = Json> extends Common<I, O> {
  execute(args: AtomArguments<I>): Promise<O>;
  probe?(args: AtomArguments<I>): Promise<{ done: true; output: O } | { done: false }>;
}

/**
 * Work that goes on at the target after the call that started it. `start` gives the target's id of the job, which is
 * journaled before anything else happens; `poll` says how it stands, and throws when the job has failed; `cancel` stops
 * it. Each is a short call. A start whose answer was lost is repeated under the same `context.key`.
 */
export interface JobDefinition<I = Json, O = Json> extends Common<I, O> {
  start(args: AtomArguments<I>): Promise<{ id: string }>;
  poll(args: JobArguments<I>): Promise<JobState<O>>;
  cancel?(args: JobArguments<I>): Promise<unknown>;
}

/** Declares an atom; mistakes that would only show when a run reaches it are refused here. */
export function defineAtom<I = Json, O = Json>(definition: AtomDefinition<I, O>): AtomDefinition<I, O>;
export function defineAtom<I = Json, O = Json>(definition: JobDefinition<I, O>): JobDefinition<I, O>;
export function defineAtom<I, O>(
  definition: AtomDefinition<I, O> | JobDefinition<I, O>,
): AtomDefinition<I, O> | JobDefinition<I, O> {
  const { manifest } = definition;
  const refuse = (what: string): never => {
    throw new OpsError('configuration', `${manifest.name}: ${what}`);
  };
  if (manifest.kind !== 'atom' || manifest.worker === undefined)
    refuse('an atom with code needs "worker": { "queue", "activity" } in its manifest');
  if (manifest.http !== undefined || manifest.script !== undefined)
    refuse('an atom has exactly one of worker, http and script');
  if ('start' in definition) {
    if (manifest.job === undefined) refuse('start and poll need "job": { "poll": { "every": "10s" } } in its manifest');
    if ((manifest.job?.cancel === undefined) !== (definition.cancel === undefined))
      refuse('"cancel": {} stands in the job of its manifest exactly when there is a cancel function');
    return definition;
  }
  if (manifest.job !== undefined) refuse('its manifest declares a job, so it needs start and poll, not execute');
  if (manifest.idempotency === 'probe' && definition.probe === undefined)
    refuse('it declares idempotency "probe" but has no probe function');
  return definition;
}
