import { Injectable } from '@nestjs/common';
import { type CompiledFlow, type HaltView, matchesPattern } from '@opsloop/contracts';
import { Logger } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { AdmissionRepository } from '../admit/admission.repository.js';
import type { AdmissionRow } from '../admit/admission-row.js';
import { WorkflowClient } from '../start/workflow-client.service.js';
import type { QueuedActivity } from '../start/workflow-facts.js';
import { haltsOn, subjectOf } from './halt-scope.pure.js';

/** Calls in flight: each run is one question of some 3 ms to Temporal. */
const PARALLEL = 16;
/** A halt answers at once; runs beyond what this allows are settled behind it, and by the sweep. */
const WAIT_MS = 1_000;
/** Compiled flows whose atoms are remembered: some names each. */
const KEPT_MAX = 1_000;
/** What a pause of ours says; a person's own is left alone. */
const OURS = 'opsloop halt';

export type HaltedRun = Pick<
  AdmissionRow,
  'id' | 'tenant' | 'rule' | 'flow' | 'atoms' | 'targets' | 'tier' | 'workflow_id' | 'ir_digest'
>;

/**
 * Calls that already wait in the queue of a worker which is not ours: it knows of no halt, so Temporal holds them, and lets
 * them go when the halt is over. What a worker has begun goes on, as everywhere. A halt that cancels needs none of
 * this: the run takes back itself what has not begun.
 */
@Injectable()
export class QueuedAtoms {
  /** Activity types of atoms of others that change something, by digest of the compiled flow: type → names of atoms. */
  private readonly foreign = new Map<string, ReadonlyMap<string, string>>();
  private supported = true;

  constructor(
    private readonly db: Database,
    private readonly repository: AdmissionRepository,
    private readonly workflows: WorkflowClient,
    private readonly logger: Logger,
  ) {}

  /** After a halt was made or lifted: the runs that it is about. Returns when they are settled, at the latest after a second. */
  async settleAll(runs: readonly HaltedRun[]): Promise<void> {
    if (!this.supported || runs.length === 0) return;
    const queue = [...runs];
    const worker = async (): Promise<void> => {
      for (let run = queue.shift(); run !== undefined; run = queue.shift())
        await this.settle(run).catch((error: unknown) =>
          this.logger.warn('calls that wait at a worker of others could not be held or let go', {
            run: run!.id,
            error,
          }),
        );
    };
    const all = Promise.all(Array.from({ length: Math.min(PARALLEL, queue.length) }, worker));
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([all, new Promise<void>((resolve) => (timer = setTimeout(resolve, WAIT_MS)))]);
    clearTimeout(timer);
  }

  /** As the halts of now want it; the sweep over open runs asks this too, so a crash in between is mended. */
  async settle(run: HaltedRun): Promise<void> {
    if (!this.supported || run.workflow_id === null) return;
    const foreign = await this.foreignOf(run);
    if (foreign.size === 0) return;
    const all = await this.repository.liveHalts({ tenant: run.tenant, query: (q, v) => this.db.query(q, v) });
    const halts = haltsOn(
      all.filter((halt) => halt.running === 'pause'),
      subjectOf(run),
    );
    for (const one of await this.workflows.queued(run.workflow_id)) {
      const atom = foreign.get(one.type);
      if (atom === undefined) continue;
      const halt = halts.find((h) => h.scope.atoms === undefined || h.scope.atoms.some((p) => matchesPattern(p, atom)));
      await this.settleOne(one, halt);
    }
  }

  private async settleOne(one: QueuedActivity, halt: HaltView | undefined): Promise<void> {
    if (halt !== undefined && one.state === 'scheduled')
      this.supported = await this.workflows.holdActivity(one, `${OURS} ${halt.id}: ${halt.reason}`);
    if (halt === undefined && one.state === 'paused' && one.reason?.startsWith(OURS) === true)
      await this.workflows.freeActivity(one);
    if (!this.supported)
      this.logger.warn('this Temporal cannot hold calls; those that wait at workers of others start under a halt');
  }

  private async foreignOf(run: HaltedRun): Promise<ReadonlyMap<string, string>> {
    const digest = run.ir_digest ?? '';
    const known = this.foreign.get(digest);
    if (known !== undefined) return known;
    const [row] = await this.db.query<{ body: CompiledFlow }>(
      'SELECT body FROM control.ir WHERE tenant = $1 AND digest = $2',
      [run.tenant, digest],
    );
    const found = new Map<string, string>();
    if (row !== undefined) collect(row.body, found);
    if (this.foreign.size >= KEPT_MAX) this.foreign.clear();
    this.foreign.set(digest, found);
    return found;
  }
}

function collect(compiled: CompiledFlow, into: Map<string, string>): void {
  for (const { name, effect, queue, activity, job } of Object.values(compiled.atoms)) {
    if (queue === undefined || effect === 'read') continue;
    // Of a job only its start begins anything.
    into.set(job === undefined ? activity : `${activity}.start`, name);
  }
  for (const inner of Object.values(compiled.flows)) collect(inner, into);
}
