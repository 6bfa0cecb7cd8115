import { Injectable } from '@nestjs/common';
import { type DocumentView, type JsonObject, OpsError, type Page, type PutAnswer } from '@opsloop/contracts';
import { validateDocument } from '@opsloop/dsl';
import { Clock, type PageQuery, type Principal } from '@opsloop/platform';
import { Database, DocumentStore, type StoredDocument, type Tx } from '@opsloop/postgres';
import { askedByRule, carefully } from './defaults.pure.js';
import { needsOf, NO_DEMAND, type PolicyEffect, weigh, type Weighed, type World } from './demand.pure.js';
import { Signals } from '../signals.service.js';
import { lintPolicies, type PolicyFinding } from './lint.pure.js';
import { Remembered } from '../remembered.js';
import { LevelsService } from '../statistics/levels.service.js';
import { InventoryService } from './inventory.service.js';
import { type Policy, policyErrors, readPolicy } from './policy.pure.js';

/** Nothing was asked of the inventory, since no policy wanted to know. */
const NO_WORLD: World = { resources: undefined, ofKind: () => undefined };

@Injectable()
export class PolicyService {
  /** Policies change rarely and count for every start. */
  private readonly written = new Remembered(() => this.read());
  /** What was read last, whatever its age. */
  private last: readonly Policy[] = [];

  constructor(
    private readonly db: Database,
    private readonly documents: DocumentStore,
    private readonly inventory: InventoryService,
    private readonly signals: Signals,
    private readonly levels: LevelsService,
    private readonly clock: Clock,
  ) {}

  /** What the policies in force ask of a start. Undefined when none matches, and then nothing was asked of anybody. */
  async apply(subject: Weighed): Promise<PolicyEffect | undefined> {
    const [written, demoted, shadowed] = await Promise.all([
      this.inForce(),
      this.levels.policies(),
      this.levels.shadowed(subject.rule, subject.flow),
    ]);
    const policies = demoted.length === 0 ? written : [...written, ...demoted];
    const world = policies.length === 0 ? NO_WORLD : await this.worldOf(policies, subject);
    const weighed = policies.length === 0 ? undefined : weigh(policies, subject, world, this.clock.now());
    const effect = askedByRule(carefully(weighed, policies, subject, world), subject.rule, subject.approval);
    return shadowed === undefined ? effect : refusedBy(effect, shadowed);
  }

  /** Those in force; a policy is the same object while it does not change. */
  inForce(): Promise<Policy[]> {
    return this.written.get();
  }

  /** A document changed: what was remembered may be old. */
  forget(): void {
    this.written.forget();
  }

  private async read(): Promise<Policy[]> {
    const policies = same(this.last, await this.documents.live('policy'));
    this.last = policies;
    return policies;
  }

  /** What of the inventory the matching policies have to know. */
  async worldOf(policies: readonly Policy[], subject: Weighed): Promise<World> {
    const needs = needsOf(policies, subject);
    const [resources, ...kinds] = await Promise.all([
      needs.resources ? this.inventory.byPath(subject.targets) : new Map<string, never>(),
      ...needs.kinds.map((kind) => this.inventory.ofKind(kind)),
    ]);
    return { resources, ofKind: (kind) => kinds[needs.kinds.indexOf(kind)] };
  }

  async put(principal: Pick<Principal, 'tenant' | 'name' | 'roles'>, name: string, body: unknown): Promise<PutAnswer> {
    const { tenant, name: by } = principal;
    const { findings } = validateDocument('policy', body);
    const wrong = findings
      .filter((f) => f.severity === 'error')
      .map((f) => ({ pointer: f.pointer, message: f.message }));
    const document = body as JsonObject;
    if (wrong.length === 0 && document['name'] !== name)
      wrong.push({ pointer: '/name', message: `is "${String(document['name'])}", but the path says "${name}"` });
    if (wrong.length === 0) wrong.push(...policyErrors(document));
    if (wrong.length > 0)
      throw new OpsError('validation', `The policy: ${wrong[0]!.pointer} ${wrong[0]!.message}`, { errors: wrong });
    await this.mayChange(principal, name, document);
    const result = await this.db.inTransaction(tenant, async (tx) => {
      const put = await this.documents.put(tx, { kind: 'policy', name, body: document, by, live: true });
      if (put.change !== 'unchanged') this.wake(tx);
      return put;
    });
    this.forget();
    const all = (await this.inForce()).filter((p) => p.name !== name);
    const contradictions = lintPolicies([...all, readPolicy(name, document)])
      .filter((f) => f.policy === name || f.other === name)
      .map((f) => `${f.policy}: ${f.message}`);
    const { change, digest } = result;
    return { kind: 'policy', name, change, digest, ...(contradictions.length === 0 ? {} : { contradictions }) };
  }

  /** What the platform forbids only those who answer for the platform may change. */
  private async mayChange(principal: Pick<Principal, 'roles'>, name: string, body?: JsonObject): Promise<void> {
    if (principal.roles.includes('admin')) return;
    const before = await this.documents.get(this.db, 'policy', name);
    if (body?.['layer'] === 'platform' || (before?.live === true && before.body['layer'] === 'platform'))
      throw new OpsError('authorization', `${name} is a policy of the platform; only the role admin may change it`);
  }

  /** Whatever waits is looked at under the policies of now. Sent, not awaited. */
  private wake(tx: Tx): void {
    tx.send({
      text: `UPDATE control.admission SET hold_until = CASE WHEN state = 'held' AND hold_until IS NOT NULL THEN clock_timestamp() ELSE hold_until END,
          due_at = CASE WHEN state = 'queued' THEN clock_timestamp() ELSE due_at END
        WHERE tenant = $1 AND state IN ('queued', 'held') AND facts IS NOT NULL`,
      values: [tx.tenant],
    });
    tx.send({
      // The turn of one that was asked about reads whether it still has to be.
      text: `UPDATE control.admission SET state = 'queued', next_try_at = '-infinity' WHERE tenant = $1 AND state = 'needs-approval'`,
      values: [tx.tenant],
    });
    tx.afterCommit(() => this.signals.emit('released'));
  }

  async versions(name: string): Promise<Page<DocumentView>> {
    const items = await this.documents.versions('policy', name);
    if (items.length === 0) throw new OpsError('not-found', `There is no policy ${name}`);
    return { items: items.map(viewOf) };
  }

  /** Where the policies in force contradict each other, or can never be satisfied. */
  async lint(): Promise<{ items: PolicyFinding[] }> {
    return { items: lintPolicies(await this.inForce()) };
  }

  async get(name: string): Promise<DocumentView> {
    const found = await this.documents.get(this.db, 'policy', name);
    if (found === undefined || !found.live) throw new OpsError('not-found', `There is no policy ${name}`);
    return viewOf(found);
  }

  async list(page: PageQuery): Promise<Page<DocumentView>> {
    const { items, nextCursor } = await this.documents.list('policy', page, { live: true });
    return { items: items.map(viewOf), ...(nextCursor === undefined ? {} : { nextCursor }) };
  }

  async remove(principal: Pick<Principal, 'tenant' | 'name' | 'roles'>, name: string): Promise<void> {
    await this.mayChange(principal, name);
    const removed = await this.db.inTransaction(principal.tenant, async (tx) => {
      this.wake(tx);
      return this.documents.remove(tx, 'policy', name, principal.name);
    });
    this.forget();
    if (!removed) throw new OpsError('not-found', `There is no policy ${name}`);
  }
}

/** A rule that lost its autonomy starts nothing, and the verdict says why. */
function refusedBy(effect: PolicyEffect | undefined, saw: string): PolicyEffect {
  const policy = 'opsloop/self-demotion';
  const demand = effect?.demand ?? NO_DEMAND;
  return {
    claims: [],
    onConflict: { policy, act: 'queue' },
    ...effect,
    demand: { ...demand, refused: [...demand.refused, { policy, saw }] },
  };
}

/** Parsed again only where a document changed: what was counted for a policy is kept with it. */
function same(before: readonly Policy[], docs: readonly StoredDocument[]): Policy[] {
  const old = new Map(before.map((p) => [p.name, p]));
  return docs.map((d) => {
    const known = old.get(d.name);
    return known?.digest === d.digest ? known : readPolicy(d.name, d.body, d.digest);
  });
}

function viewOf(d: StoredDocument): DocumentView {
  const { kind, name, version, digest, status, live, createdAt, createdBy, body } = d;
  return {
    kind: kind as 'policy',
    name,
    ...(version === undefined ? {} : { version }),
    digest,
    status,
    live,
    createdAt,
    createdBy,
    body,
  };
}
