import { Injectable } from '@nestjs/common';
import { type DocumentView, type JsonObject, OpsError, type Page, type PutAnswer } from '@opsloop/contracts';
import { validateDocument } from '@opsloop/dsl';
import { Clock, type PageQuery } from '@opsloop/platform';
import { Database, DocumentStore, type StoredDocument } from '@opsloop/postgres';
import { needsOf, type PolicyEffect, weigh, type Weighed, type World } from './demand.pure.js';
import { InventoryService } from './inventory.service.js';
import { type Policy, policyErrors, readPolicy } from './policy.pure.js';

/** Policies change rarely and count for every start; a second is the promise of every cache here. */
const CACHE_MS = 1_000;

@Injectable()
export class PolicyService {
  private cached: { at: number; policies: Promise<Policy[]> } | undefined;

  constructor(
    private readonly db: Database,
    private readonly documents: DocumentStore,
    private readonly inventory: InventoryService,
    private readonly clock: Clock,
  ) {}

  /** What the policies in force ask of a start. Undefined when none matches, and then nothing was asked of anybody. */
  async apply(subject: Weighed): Promise<PolicyEffect | undefined> {
    const policies = await this.inForce();
    if (policies.length === 0) return undefined;
    return weigh(policies, subject, await this.worldOf(policies, subject), this.clock.now());
  }

  /** Those in force; the list is the same object while nothing changes. */
  inForce(): Promise<Policy[]> {
    if (this.cached === undefined || Date.now() - this.cached.at > CACHE_MS) {
      const before = this.cached?.policies;
      const policies = this.documents.live('policy').then(async (docs) => same(await before?.catch(() => []), docs));
      this.cached = { at: Date.now(), policies };
      policies.catch(() => (this.cached = undefined));
    }
    return this.cached.policies;
  }

  /** A document changed: what was remembered may be old. */
  forget(): void {
    if (this.cached !== undefined) this.cached.at = 0;
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

  async put(tenant: string, name: string, body: unknown, by: string): Promise<PutAnswer> {
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
    const result = await this.db.inTransaction(tenant, (tx) =>
      this.documents.put(tx, { kind: 'policy', name, body: document, by, live: true }),
    );
    this.forget();
    return { kind: 'policy', name, change: result.change, digest: result.digest };
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

  async remove(tenant: string, name: string, by: string): Promise<void> {
    const removed = await this.db.inTransaction(tenant, (tx) => this.documents.remove(tx, 'policy', name, by));
    this.forget();
    if (!removed) throw new OpsError('not-found', `There is no policy ${name}`);
  }
}

/** Parsed again only where a document changed: what was counted for a policy is kept with it. */
function same(before: readonly Policy[] | undefined, docs: readonly StoredDocument[]): Policy[] {
  const old = new Map(before?.map((p) => [p.name, p]));
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
