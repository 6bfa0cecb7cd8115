import { Injectable } from '@nestjs/common';
import type { HoldsView } from '@opsloop/contracts';
import { Database } from '@opsloop/postgres';
import type { AdmissionRow } from '../admit/admission-row.js';
import { verdictOfState } from '../admit/admit.pure.js';
import { LockService } from '../lock/lock.service.js';
import { RunReader } from '../runs/run-reader.service.js';
import { HaltService } from './halt.service.js';
import { inScope } from './halt-scope.pure.js';

/** An explanation names a few; the lists have the rest. */
const WAITING_MAX = 20;

/** Who holds, waits for and halts a path: control's part of every explanation. */
@Injectable()
export class HoldsService {
  constructor(
    private readonly db: Database,
    private readonly locks: LockService,
    private readonly halts: HaltService,
    private readonly reader: RunReader,
  ) {}

  async on(tenant: string, path: string): Promise<HoldsView> {
    const [{ items }, waiting, halts] = await Promise.all([
      this.locks.list(tenant, path),
      this.waiting(tenant, path),
      this.halts.live(tenant),
    ]);
    // Of a halt on rules, flows, atoms or tiers a path alone cannot tell; those of paths and of everything concern it.
    const here = halts.filter(
      ({ scope: { paths } }) =>
        paths === undefined || inScope({ paths }, { flow: '', atoms: [], targets: [path], tier: 'P3' }),
    );
    return {
      locks: items.map(({ fence, path: p, mode, owner, runId, since, state }) => ({
        fence,
        path: p,
        mode,
        owner,
        ...(runId === undefined ? {} : { runId }),
        since,
        state,
      })),
      waiting,
      halts: here,
      maintenance: here.filter((h) => h.until !== undefined && h.scope.paths !== undefined),
    };
  }

  private async waiting(tenant: string, path: string): Promise<HoldsView['waiting']> {
    const rows = await this.db.query<AdmissionRow>(
      `SELECT * FROM control.admission WHERE tenant = $1 AND state IN ('queued', 'held', 'needs-approval')
        AND EXISTS (SELECT 1 FROM unnest(targets) t WHERE t = $2 OR starts_with(t, $2 || '/') OR starts_with($2, t || '/')) ORDER BY rank_at, ticket LIMIT $3`,
      [tenant, path, WAITING_MAX],
    );
    return Promise.all(
      rows.map(async (row) => ({
        id: row.id,
        flow: row.flow,
        verdict: verdictOfState(row.state),
        since: row.created_at.toISOString(),
        ...(row.state === 'queued' ? { position: (await this.reader.place(row)).position } : {}),
      })),
    );
  }
}
