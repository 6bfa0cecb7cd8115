import { Inject, Injectable } from '@nestjs/common';
import type {
  AtomDocument,
  CompiledOffering,
  Effect,
  InternalCalls,
  JsonObject,
  TableDocument,
  ScheduleDocument,
} from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import type { Finding } from '@opsloop/rules';
import { Database } from '@opsloop/postgres';
import { CATALOG_CONFIG, type ServiceCatalogConfig } from '../config.js';
import { compileStored, findingsProblem } from './compile.pure.js';
import { pick, type Snapshot, type StoredOffering } from './snapshot.pure.js';
import { SnapshotRepository } from './snapshot.repository.js';
import { parseOfferingRef, selectVersion } from './version.pure.js';

type Compiled = { offering?: CompiledOffering; findings: Finding[] };

const keyOf = (stored: StoredOffering): string => `${stored.kind}:${stored.name}@${stored.version}`;

/** Resolves and compiles references. Compiling is pure, so its result is kept until anything in the catalog changes. */
@Injectable()
export class Offerings {
  /** Results per snapshot: a write makes a new snapshot and so drops all of them at once. */
  private readonly compiled = new WeakMap<Snapshot, Map<string, Compiled>>();

  /** Effects only: one word per offering, so all of them are kept and a long list is compiled once. */
  private readonly summaries = new WeakMap<Snapshot, Map<string, { effect?: Effect }>>();

  constructor(
    private readonly db: Database,
    private readonly snapshots: SnapshotRepository,
    @Inject(CATALOG_CONFIG) private readonly config: ServiceCatalogConfig,
  ) {}

  /** `name@range` → its newest published version with all that it refers to. `not-found` when there is none. */
  async compile(tenant: string, ref: string): Promise<CompiledOffering> {
    const { snapshot, stored } = await this.resolve(tenant, ref);
    const { offering, findings } = this.compileIn(snapshot, stored);
    if (offering === undefined)
      throw findingsProblem(`"${ref}" cannot start: something it refers to is gone`, findings);
    return offering;
  }

  async atom(tenant: string, ref: string): Promise<AtomDocument> {
    const { stored } = await this.resolve(tenant, ref);
    if (stored.body.kind !== 'atom') throw new OpsError('not-found', `"${ref}" is a flow, not an atom`);
    return stored.body;
  }

  /** All configs of the tenant, `{ <name>: values }`. */
  async configs(tenant: string): Promise<InternalCalls['POST /internal/catalog/configs']['answer']> {
    const rows = await this.db.query<{ name: string; values: JsonObject }>({
      name: 'catalog.configs',
      text: `SELECT name, body->'values' AS values FROM catalog.document WHERE tenant = $1 AND kind = 'config' AND live`,
      values: [tenant],
    });
    return { configs: Object.fromEntries(rows.map((r) => [r.name, r.values])) };
  }

  /** Decision tables by reference, the newest published version of each in range. Those that are not there are left out. */
  async tables(
    tenant: string,
    refs: readonly string[],
  ): Promise<InternalCalls['POST /internal/catalog/tables']['answer']> {
    const names = [...new Set(refs.map((ref) => ref.split('@', 1)[0]!))];
    const rows = await this.db.query<{ name: string; version: string; status: 'published'; body: TableDocument }>({
      name: 'catalog.tables',
      text: `SELECT name, version, status, body FROM catalog.document WHERE tenant = $1 AND kind = 'table' AND name = ANY ($2) AND deleted_at IS NULL`,
      values: [tenant, names],
    });
    const tables: Record<string, TableDocument> = {};
    for (const ref of refs) {
      const [name, range] = ref.split('@', 2);
      const found = selectVersion(
        rows.filter((row) => row.name === name),
        range,
      );
      if (found !== undefined) tables[ref] = found.body;
    }
    return { tables };
  }

  /** All schedules of the tenant that are in force. */
  async schedules(tenant: string): Promise<InternalCalls['POST /internal/catalog/schedules']['answer']> {
    const schedules = await this.db.query<{ name: string; digest: string; body: ScheduleDocument }>({
      name: 'catalog.schedules',
      text: `SELECT name, digest, body FROM catalog.document WHERE tenant = $1 AND kind = 'schedule' AND live ORDER BY name`,
      values: [tenant],
    });
    return { schedules };
  }

  /** Compiles a stored version, or takes the result from before. */
  compileIn(snapshot: Snapshot, stored: StoredOffering): Compiled {
    const results = this.compiled.get(snapshot) ?? new Map<string, Compiled>();
    this.compiled.set(snapshot, results);
    const key = keyOf(stored);
    const known = results.get(key);
    if (known !== undefined) return known;
    const result = compileStored(snapshot, stored);
    const oldest = results.keys().next();
    if (results.size >= this.config.compileCacheMax && oldest.done !== true) results.delete(oldest.value);
    results.set(key, result);
    return result;
  }

  /** What a list shows of an offering. Without `effect` it cannot start. */
  summaryIn(snapshot: Snapshot, stored: StoredOffering): { effect?: Effect } {
    const summaries = this.summaries.get(snapshot) ?? new Map<string, { effect?: Effect }>();
    this.summaries.set(snapshot, summaries);
    const key = keyOf(stored);
    const known = summaries.get(key);
    if (known !== undefined) return known;
    const { offering } = this.compileIn(snapshot, stored);
    const summary = offering === undefined ? {} : { effect: offering.effect };
    summaries.set(key, summary);
    return summary;
  }

  private async resolve(tenant: string, ref: string): Promise<{ snapshot: Snapshot; stored: StoredOffering }> {
    const { kind, name, range } = parseOfferingRef(ref);
    const snapshot = await this.snapshots.current(tenant);
    const stored = pick(snapshot, kind, name, range);
    if (stored === undefined)
      throw new OpsError(
        'not-found',
        `There is no published ${kind} ${range === undefined ? name : `${name}@${range}`}`,
      );
    return { snapshot, stored };
  }
}
