import type { MigrationSet } from '@opsloop/postgres';
import { CreateDecision1700000002000 } from './1700000002000-create-decision.js';
import { IndexByAge1700000002001 } from './1700000002001-index-by-age.js';
import { PlanDecisionOnce1700000002050 } from './1700000002050-plan-once.js';
import { IncidentsAndLinks1700000002100 } from './1700000002100-incidents-and-links.js';
import { KnowReporters1700000002160 } from './1700000002160-know-reporters.js';
import { KeepBacktests1700000002200 } from './1700000002200-keep-backtests.js';
import { SaveWhatIsThere1700000003040 } from './1700000003040-save-what-is-there.js';
import { CompressTraces1700000003101 } from './1700000003101-compress-traces.js';
import { TryVersions1700000003150 } from './1700000003150-try-versions.js';
import { FindMembers1700000003210 } from './1700000003210-find-members.js';

export const decisionMigrations: MigrationSet = {
  schema: 'decision',
  migrations: [
    CreateDecision1700000002000,
    IndexByAge1700000002001,
    PlanDecisionOnce1700000002050,
    IncidentsAndLinks1700000002100,
    KnowReporters1700000002160,
    KeepBacktests1700000002200,
    SaveWhatIsThere1700000003040,
    CompressTraces1700000003101,
    TryVersions1700000003150,
    FindMembers1700000003210,
  ],
};
