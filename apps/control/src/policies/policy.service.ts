import { Injectable } from '@nestjs/common';
import { type DocumentView, type JsonObject, OpsError, type Page, type PutAnswer } from '@opsloop/contracts';
import { validateDocument } from '@opsloop/dsl';
import type { PageQuery } from '@opsloop/platform';
import { Database, DocumentStore, type StoredDocument } from '@opsloop/postgres';
import {
  effectOf,
  type MutexPolicy,
  policyErrors,
  type PolicyEffect,
  type PolicySubject,
  readPolicy,
} from './mutex-policy.pure.js';

/** Policies change rarely and count for every start; a second is the promise of every cache here. */
const CACHE_MS = 1_000;

@Injectable()
export class PolicyService {
  private cached: { at: number; policies: Promise<MutexPolicy[]> } | undefined;

  constructor(
    private readonly db: Database,
    private readonly documents: DocumentStore,
  ) {}

  /** What the policies in force add to a start. */
  async apply(subject: PolicySubject): Promise<PolicyEffect | undefined> {
    if (this.cached === undefined || Date.now() - this.cached.at > CACHE_MS) {
      const policies = this.documents.live('policy').then((docs) => docs.map((d) => readPolicy(d.name, d.body)));
      this.cached = { at: Date.now(), policies };
      policies.catch(() => (this.cached = undefined));
    }
    return effectOf(await this.cached.policies, subject);
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
    this.cached = undefined;
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
    this.cached = undefined;
    if (!removed) throw new OpsError('not-found', `There is no policy ${name}`);
  }
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
