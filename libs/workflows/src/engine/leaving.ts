/** Leaving for a new Temporal run: who asks for it, and how every branch of the walk hears of it. */
import { CancellationScope, condition, isCancellation, patched, workflowInfo } from '@temporalio/workflow';
import { ContinueLater } from './errors.js';
import type { Frame } from './types.js';

/**
 * A sub-flow does not travel, so leaving waits for those under way, and meanwhile nothing new starts. While some are,
 * the run goes on up to these bounds first: a third of what Temporal ends a run at (51,200 events, 50 MB).
 */
const WITH_CHILDREN_EVENTS = 16_000;
const WITH_CHILDREN_BYTES = 16_000_000;

/** Runs that began before branches could leave still leave only where nothing runs beside the walk. */
const PATCH = 'leave-anywhere';

/**
 * Once begun, nothing new starts: every branch throws `ContinueLater` at its next step boundary or out of the wait in
 * which it stands, and what is in flight ends first.
 */
export class Leaving {
  /** The branches have been told. */
  begun = false;
  private stays = false;
  private anywhere: boolean | undefined;
  private readonly parked = new Set<CancellationScope>();
  private seen = { at: -1, asked: false, must: false };

  /**
   * @param stayers What does not travel.
   * @param after Events after which the run leaves although Temporal does not ask yet: for tests of big runs.
   */
  constructor(
    private readonly stayers: { readonly size: number },
    private readonly after: number | undefined,
  ) {}

  /** Notices that it is time also when every branch only waits. No command: conditions are looked at on every task. */
  watch(): void {
    const due = (): boolean => !this.stays && this.due() && this.isAnywhere();
    // Of a task with many signals the first is seen alone; after the last there may be a reason to stay.
    void CancellationScope.nonCancellable(() => condition(due)).then(() => (due() ? this.begin() : this.watch()));
  }

  /** Whether the walk must leave at this boundary. */
  asks(frame: Pick<Frame, 'concurrent' | 'phase'>): boolean {
    if (this.begun) return true;
    if (this.stays || !this.due()) return false;
    if (!this.isAnywhere()) return !frame.concurrent && frame.phase === 'forward';
    this.begin();
    return true;
  }

  /** Never leaves any more: what the run knows fits no payload, so it ends here. */
  stay(): void {
    this.stays = true;
    this.begun = false;
  }

  /** A wait that leaving cuts short. Whoever calls it remembers what is left of the wait. */
  async park<T>(work: () => Promise<T>): Promise<T> {
    if (this.begun) throw new ContinueLater();
    const scope = new CancellationScope({ cancellable: true });
    this.parked.add(scope);
    try {
      return await scope.run(work);
    } catch (err) {
      if (this.begun && isCancellation(err) && !CancellationScope.current().consideredCancelled)
        throw new ContinueLater();
      throw err;
    } finally {
      this.parked.delete(scope);
    }
  }

  private begin(): void {
    if (this.begun || this.stays) return;
    this.begun = true;
    for (const scope of [...this.parked]) scope.cancel();
  }

  private isAnywhere(): boolean {
    return (this.anywhere ??= patched(PATCH));
  }

  /** `workflowInfo()` copies its answer; once per moment of workflow time is often enough. */
  private due(): boolean {
    const at = Date.now();
    if (at !== this.seen.at) {
      const { continueAsNewSuggested, historyLength, historySize } = workflowInfo();
      const asked = continueAsNewSuggested || (this.after !== undefined && historyLength >= this.after);
      const must = historyLength >= WITH_CHILDREN_EVENTS || historySize >= WITH_CHILDREN_BYTES;
      this.seen = { at, asked, must };
    }
    return this.seen.asked && (this.seen.must || this.stayers.size === 0);
  }
}
