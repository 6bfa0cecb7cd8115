import { Injectable } from '@nestjs/common';
import type { Diagnosis } from '@opsloop/contracts';
import { Clock } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import type { AdmissionRow } from '../admit/admission-row.js';
import { type Described, WorkflowClient } from '../start/workflow-client.service.js';
import { diagnose, type Pollers, type WorkflowFacts } from './diagnosis.pure.js';

/** Who polls changes in minutes, and a list of runs asks about the same few queues. */
const POLLERS_MS = 5_000;
/** Queues that are remembered: more than any installation has workers for. */
const QUEUES_MAX = 1_000;
/** A person waits for the answer; the rest of the run is shown without it. */
const DESCRIBE_MS = 2_000;

/** Says why an open run does not go on, and keeps for the status page which do not. */
@Injectable()
export class DiagnoseService {
  private readonly seen = new Map<string, { at: number; answer: Promise<{ lastSeenAt?: Date } | undefined> }>();

  constructor(
    private readonly db: Database,
    private readonly workflows: WorkflowClient,
    private readonly clock: Clock,
  ) {}

  /** Of a started run, as of now. */
  async live(row: Pick<AdmissionRow, 'id' | 'workflow_id'>): Promise<Diagnosis[]> {
    try {
      const described = await this.workflows.describe(row.workflow_id!, DESCRIBE_MS);
      return described?.status === 'RUNNING' ? await this.of(row.id, described.facts) : [];
    } catch {
      return diagnose({ id: row.id, now: this.clock.now(), workflow: 'unreachable', pollers: () => undefined });
    }
  }

  /** Found by the sweep, which has asked Temporal anyway. */
  async note(tenant: string, id: string, described: Described): Promise<void> {
    const found = described.status === 'RUNNING' ? await this.of(id, described.facts) : [];
    const stuck = found.filter((one) => one.stuck);
    // A run that is fine has no row, and writes nothing.
    await this.db.query(
      stuck.length === 0
        ? {
            name: 'control.not-stuck',
            text: 'DELETE FROM control.stuck WHERE tenant = $1 AND run_id = $2',
            values: [tenant, id],
          }
        : {
            name: 'control.stuck',
            text: `INSERT INTO control.stuck (tenant, run_id, found) VALUES ($1, $2, $3)
              ON CONFLICT (tenant, run_id) DO UPDATE SET found = excluded.found WHERE control.stuck.found <> excluded.found`,
            values: [tenant, id, JSON.stringify(stuck)],
          },
    );
  }

  /** Since when nobody takes tasks of a queue; undefined when Temporal does not say. */
  pollers(queue: string): Promise<{ lastSeenAt?: Date } | undefined> {
    const known = this.seen.get(queue);
    if (known !== undefined && performance.now() - known.at < POLLERS_MS) return known.answer;
    if (this.seen.size >= QUEUES_MAX) this.seen.clear();
    const answer = this.workflows.pollers(queue).catch(() => undefined);
    this.seen.set(queue, { at: performance.now(), answer });
    return answer;
  }

  private async of(id: string, workflow: WorkflowFacts): Promise<Diagnosis[]> {
    const now = this.clock.now();
    // First without an answer: only what a queue is asked for has to be asked of Temporal.
    const asked = new Set<string>();
    const ask: Pollers = (queue) => {
      asked.add(queue);
      return undefined;
    };
    const first = diagnose({ id, now, workflow, pollers: ask });
    if (asked.size === 0) return first;
    const answers = new Map<string, { lastSeenAt?: Date } | undefined>();
    for (const queue of asked) answers.set(queue, await this.pollers(queue));
    return diagnose({ id, now, workflow, pollers: (queue) => answers.get(queue) });
  }
}
