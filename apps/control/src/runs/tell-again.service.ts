import { Injectable } from '@nestjs/common';
import type { RunsMessage, Verdict } from '@opsloop/contracts';
import { Clock } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import type { AdmissionRow } from '../admit/admission-row.js';
import { runsBase } from '../admit/admission.repository.js';
import { outcomeOf } from './close-run.service.js';

const TENANT = 'default';
const REFUSALS: readonly string[] = ['rejected', 'coalesced', 'withdrawn', 'expired', 'cancelled'];

/** Builds from the rows what was published when they changed: a message that somebody gave up is not lost for ever. */
@Injectable()
export class TellAgainService {
  constructor(
    private readonly db: Database,
    private readonly clock: Clock,
  ) {}

  async messages(ids: readonly string[]): Promise<RunsMessage[]> {
    const rows = await this.db.query<AdmissionRow>({
      name: 'control.tell-again',
      text: `SELECT * FROM control.admission WHERE tenant = $1 AND id = ANY ($2::uuid[]) AND kind = 'run'`,
      values: [TENANT, ids],
    });
    return rows.flatMap((row) => told(row, this.clock.now()));
  }
}

function told(row: AdmissionRow, now: Date): RunsMessage[] {
  if (REFUSALS.includes(row.state)) {
    return [
      {
        ...runsBase(row, row.ended_at ?? now),
        kind: 'verdict',
        verdict: row.state as Verdict,
        consulted: row.consulted,
        ...(row.into_id === null ? {} : { into: row.into_id }),
        ...(row.reason === null ? {} : { reason: row.reason }),
      },
    ];
  }
  if (row.started_at === null && row.state !== 'closed') return [];
  const started: RunsMessage[] =
    row.started_at === null
      ? []
      : [{ ...runsBase(row, row.started_at), kind: 'started', workflowId: row.workflow_id ?? '' }];
  if (row.state !== 'closed' || row.status === null) return started;
  const ending = { status: row.status, ...(row.outcome === null ? {} : { targets: row.outcome }) };
  return [
    ...started,
    {
      ...runsBase(row, row.ended_at ?? now),
      kind: 'closed',
      status: row.status,
      outcome: outcomeOf(row, ending),
      ...(row.problem === null ? {} : { problem: row.problem }),
    },
  ];
}
