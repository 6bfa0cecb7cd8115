import { CancellationScope, isCancellation } from '@temporalio/workflow';
import { ContinueLater, StepFailure } from './errors.js';

/** End of one branch: it went through, failed with a problem, was cancelled by the group, or goes on in a new run. */
export type BranchEnd =
  { kind: 'done' } | { kind: 'failed'; failure: StepFailure } | { kind: 'cancelled' } | { kind: 'left' };

/**
 * Branches that run side by side, each in a scope of its own, so that the group can cancel them. `return`, the cancel
 * of the run and bugs end the group: the other branches are cancelled and awaited, then the cause goes on.
 */
export class BranchGroup {
  private readonly scopes = new Set<CancellationScope>();
  private stop: { cause: unknown } | undefined;
  private cancelled = false;
  private left = false;

  /**
   * @param shared One scope for all branches, in which the caller already runs them: a scope costs several promises,
   * which a thousand items need not pay when they are only ever cancelled together.
   */
  constructor(private readonly shared?: CancellationScope) {}

  /** @param resumes The branch was under way in the Temporal run before: also a cancelled group lets it clean up. */
  async run(work: () => Promise<void>, resumes = false): Promise<BranchEnd> {
    const ended = this.cancelled || this.stop !== undefined;
    if (ended && !resumes) return { kind: 'cancelled' };
    const scope = this.shared ?? new CancellationScope({ cancellable: true });
    this.scopes.add(scope);
    if (ended) scope.cancel();
    try {
      await (this.shared === undefined ? scope.run(work) : work());
      return { kind: 'done' };
    } catch (err) {
      if (err instanceof StepFailure) return { kind: 'failed', failure: err };
      if (err instanceof ContinueLater) return this.leave();
      if (isCancellation(err) && this.cancelled) return { kind: 'cancelled' };
      this.stop ??= { cause: err };
      this.cancel();
      return { kind: 'cancelled' };
    } finally {
      if (this.shared === undefined) this.scopes.delete(scope);
    }
  }

  /** Some of the group goes on in a new Temporal run. */
  leave(): BranchEnd {
    this.left = true;
    return { kind: 'left' };
  }

  /** Cancels what runs and lets nothing more start. */
  cancel(): void {
    this.cancelled = true;
    for (const scope of this.scopes) scope.cancel();
  }

  /**
   * Once all branches have ended: throws what must go on outward. Leaving comes first: the new run finds the same
   * cause in the journal, and the branches that left must still clean up.
   */
  rethrow(): void {
    if (this.left) throw new ContinueLater();
    if (this.stop !== undefined) throw this.stop.cause;
  }
}
