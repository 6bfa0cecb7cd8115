import { Injectable } from '@nestjs/common';
import type { DocumentView, JsonObject, MaintenanceDocument, Page, PutAnswer } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { validateDocument } from '@opsloop/dsl';
import type { PageQuery, Principal } from '@opsloop/platform';
import { Clock } from '@opsloop/platform';
import type { StoredDocument, Tx } from '@opsloop/postgres';
import { Database, DocumentStore } from '@opsloop/postgres';
import { nextWindow, openWindow } from '@opsloop/rules/windows';
import { MaintenanceCache, REFRESH_MS } from './maintenance-cache.service.js';

/** Twice the time after which every process knows the windows anew: an older picture would owe the look once more. */
const SETTLE_MS = 2 * REFRESH_MS;

export interface MaintenanceView extends DocumentView {
  /** The stretch that is open now. */
  open?: { from: string; until: string };
  next?: { from: string; until: string };
}

/** Windows in which automation leaves resources alone. A change of any of them lets all debts be looked at again. */
@Injectable()
export class MaintenanceService {
  constructor(
    private readonly db: Database,
    private readonly documents: DocumentStore,
    private readonly cache: MaintenanceCache,
    private readonly clock: Clock,
  ) {}

  async put(principal: Principal, name: string, body: unknown): Promise<PutAnswer> {
    const document = checked(body, name);
    const put = await this.db.inTransaction(principal.tenant, async (tx) => {
      const result = await this.documents.put(tx, {
        kind: 'maintenance',
        name,
        body: document as unknown as JsonObject,
        by: principal.name,
        live: true,
      });
      if (result.change !== 'unchanged') await this.settleDebts(tx);
      return result;
    });
    return { kind: 'maintenance', name, change: put.change, digest: put.digest };
  }

  /** Ends the stretch that is open; a recurrence opens again the next time. */
  async end(principal: Principal, name: string, reason: string): Promise<MaintenanceView> {
    await this.db.inTransaction(principal.tenant, async (tx) => {
      const stored = await this.documents.get(tx, 'maintenance', name);
      if (stored === undefined || !stored.live)
        throw new OpsError('not-found', `There is no maintenance window ${name}`);
      const now = this.clock.now().getTime();
      const doc = stored.body as unknown as MaintenanceDocument;
      const open = openWindow({ ...doc.during }, now);
      if (open === undefined) throw new OpsError('conflict', `The maintenance window ${name} is not open`);
      const ended = {
        at: new Date(now).toISOString(),
        until: new Date(open.until).toISOString(),
        by: principal.name,
        reason,
      };
      await this.documents.setMeta(tx, 'maintenance', name, { ...stored.meta, ended });
      await this.settleDebts(tx);
    });
    return this.get(name);
  }

  async get(name: string): Promise<MaintenanceView> {
    const stored = await this.documents.get(this.db, 'maintenance', name);
    if (stored === undefined || !stored.live) throw new OpsError('not-found', `There is no maintenance window ${name}`);
    return viewOf(stored, this.clock.now().getTime());
  }

  async list(page: PageQuery): Promise<Page<MaintenanceView>> {
    const { items, nextCursor } = await this.documents.list('maintenance', page, { live: true });
    const now = this.clock.now().getTime();
    return { items: items.map((one) => viewOf(one, now)), ...(nextCursor === undefined ? {} : { nextCursor }) };
  }

  async remove(principal: Principal, name: string): Promise<void> {
    await this.db.inTransaction(principal.tenant, async (tx) => {
      if (!(await this.documents.remove(tx, 'maintenance', name, principal.name)))
        throw new OpsError('not-found', `There is no maintenance window ${name}`);
      await this.settleDebts(tx);
    });
  }

  /** Whatever is still covered is owed again when it is looked at; the rest is looked at now. */
  private async settleDebts(tx: Tx): Promise<void> {
    await tx.query(
      `UPDATE decision.wait SET due_at = least(due_at, clock_timestamp() + $2 * interval '1 millisecond') WHERE tenant = $1 AND kind = 'debt'`,
      [tx.tenant, SETTLE_MS],
    );
    tx.afterCommit(() => this.cache.forget());
  }
}

function checked(body: unknown, name: string): MaintenanceDocument {
  const { findings, document } = validateDocument<MaintenanceDocument>('maintenance', body);
  const errors = findings
    .filter((finding) => finding.severity === 'error')
    .map(({ pointer, message, hint }) => ({ pointer, message: hint === undefined ? message : `${message}; ${hint}` }));
  if (document !== undefined && document.name !== name)
    errors.push({ pointer: '/name', message: `must be ${name}, as in the address` });
  if (errors[0] !== undefined || document === undefined)
    throw new OpsError(
      'validation',
      errors[0] === undefined ? 'The window is not valid' : `The window: ${errors[0].pointer} ${errors[0].message}`,
      { errors },
    );
  return document;
}

const stretch = ({ from, until }: { from: number; until: number }): { from: string; until: string } => ({
  from: new Date(from).toISOString(),
  until: new Date(until).toISOString(),
});

function viewOf(stored: StoredDocument, now: number): MaintenanceView {
  const { name, digest, status, live, createdAt, createdBy, body, meta } = stored;
  const { during } = body as unknown as MaintenanceDocument;
  const ended = meta['ended'] as { until: string } | undefined;
  const open = openWindow({ ...during }, now);
  const next = nextWindow(during, now);
  const over = open === undefined || (ended !== undefined && open.until <= Date.parse(ended.until));
  return {
    ...{ kind: 'maintenance' as const, name, digest, status, live, createdAt, createdBy, body, meta },
    ...(over ? {} : { open: stretch(open) }),
    ...(next === undefined ? {} : { next: stretch(next) }),
  };
}
