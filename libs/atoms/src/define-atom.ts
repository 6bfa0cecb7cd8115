import { OpsError, type AtomContext, type AtomDocument, type Json } from '@opsloop/contracts';

/** What an atom receives. */
export interface AtomArguments<I> {
  input: I;
  context: AtomContext;
  /** Aborted when the step is cancelled or the worker shuts down; reaches a long call only while it heartbeats. */
  signal: AbortSignal;
  /** Tells the server that the work goes on; shown as progress of the step. */
  heartbeat(progress?: { percent?: number; message?: string }): void;
}

/**
 * A team's own atom. The manifest is what the catalog knows; `execute` does the work.
 *
 * `check` answers a dry run: what would happen, without doing it.
 * `probe` is for `idempotency: probe`: asked before every repeat, it says whether an earlier attempt has done the work
 * already, and with which output.
 */
export interface AtomDefinition<I = Json, O = Json> {
  manifest: AtomDocument;
  execute(args: AtomArguments<I>): Promise<O>;
  check?(args: AtomArguments<I>): Promise<O>;
  probe?(args: AtomArguments<I>): Promise<{ done: true; output: O } | { done: false }>;
}

/** Declares an atom; mistakes that would only show when a run reaches it are refused here. */
export function defineAtom<I = Json, O = Json>(definition: AtomDefinition<I, O>): AtomDefinition<I, O> {
  const { manifest, probe } = definition;
  if (manifest.kind !== 'atom' || manifest.worker === undefined) {
    throw new OpsError(
      'configuration',
      `${manifest.name}: an atom with code needs "worker": { "queue", "activity" } in its manifest`,
    );
  }
  if (manifest.http !== undefined || manifest.script !== undefined) {
    throw new OpsError('configuration', `${manifest.name}: an atom has exactly one of worker, http and script`);
  }
  if (manifest.idempotency === 'probe' && probe === undefined) {
    throw new OpsError('configuration', `${manifest.name} declares idempotency "probe" but has no probe function`);
  }
  return definition;
}
