import { Injectable } from '@nestjs/common';
import { Database } from '@opsloop/postgres';

const TENANT = 'default';

/** Runs that are under way, by flow: whoever changes the flow should know of them. */
@Injectable()
export class OpenRunsService {
  constructor(private readonly db: Database) {}

  async count(flows: readonly string[]): Promise<Record<string, number>> {
    const rows = await this.db.query<{ flow: string; open: number }>({
      name: 'control.open-runs',
      // The index of what is open: some hundred rows, whatever has been.
      text: `SELECT flow, count(*)::int AS open FROM control.admission
        WHERE tenant = $1 AND state IN ('admitted', 'started') AND flow = ANY ($2) AND kind = 'run' GROUP BY flow`,
      values: [TENANT, flows],
    });
    return Object.fromEntries(rows.map(({ flow, open }) => [flow, open]));
  }
}
