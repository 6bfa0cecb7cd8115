import { Injectable } from '@nestjs/common';
import type {
  DocumentView,
  JsonObject,
  Page,
  PutAnswer,
  RolloutState,
  RuleDocument,
  RuleMode,
} from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { normaliseDocument, validateDocument } from '@opsloop/dsl';
import type { PageQuery, Principal } from '@opsloop/platform';
import { Clock } from '@opsloop/platform';
import type { StoredDocument, Tx } from '@opsloop/postgres';
import { Database, DocumentStore } from '@opsloop/postgres';
import { StopService } from '../episodes/stop.service.js';
import { RuleCache } from './rule-cache.service.js';

export interface RulePatch {
  mode?: RuleMode | undefined;
  /** `null`: the live version acts on everything again. */
  rollout?: Partial<RolloutState> | null | undefined;
  /** The stored version that is live from now on. */
  live?: string | undefined;
  reason: string;
}

/** Rules as documents; mode and rollout are operational state beside the versions. */
@Injectable()
export class RulesService {
  constructor(
    private readonly db: Database,
    private readonly documents: DocumentStore,
    private readonly cache: RuleCache,
    private readonly stop: StopService,
    private readonly clock: Clock,
  ) {}

  /** Not `live`: the version is stored beside the live one, to be tried. */
  async put(principal: Principal, name: string, body: unknown, live = true): Promise<PutAnswer> {
    const rule = checkedRule(body, name);
    if (!live) return this.store(principal, rule);
    return this.db.inTransaction(principal.tenant, async (tx) => {
      const meta = metaOf(rule);
      const put = await this.documents.put(tx, {
        kind: 'rule',
        name,
        version: rule.version,
        body: rule as unknown as JsonObject,
        by: principal.name,
        live: true,
        meta,
      });
      // A name that was deleted begins anew; otherwise mode and rollout are the operators', whatever the document says.
      if (put.change === 'created') await this.documents.setMeta(tx, 'rule', name, meta);
      // An older version put again is an explicit wish: the last PUT is live.
      if (put.change === 'unchanged') await this.documents.setLive(tx, 'rule', name, rule.version, principal.name);
      await this.cache.publish(tx);
      return { kind: 'rule' as const, name, version: rule.version, change: put.change, digest: put.digest };
    });
  }

  private store(principal: Principal, rule: RuleDocument): Promise<PutAnswer> {
    const { name, version } = rule;
    return this.db.inTransaction(principal.tenant, async (tx) => {
      const known = await this.documents.get(tx, 'rule', name);
      if (known === undefined || !known.live)
        throw new OpsError(
          'conflict',
          `No version of ${name} is live that another one could stand beside; put it live`,
        );
      const put = await this.documents.put(tx, {
        ...{ kind: 'rule', name, version, body: rule as unknown as JsonObject, by: principal.name, live: false },
        meta: known.meta,
      });
      return { kind: 'rule' as const, name, version, change: put.change, digest: put.digest };
    });
  }

  /** A whole set of rules: all of it judges from one commit on, or none of it. */
  async putMany(principal: Principal, bodies: readonly unknown[]): Promise<{ items: PutAnswer[] }> {
    const rules = checkedRules(bodies);
    const documents = rules.map((rule) => ({
      name: rule.name,
      version: rule.version,
      body: rule as unknown as JsonObject,
      meta: metaOf(rule),
    }));
    return this.db.inTransaction(principal.tenant, async (tx) => {
      const puts = await this.documents.putMany(tx, 'rule', documents, principal.name);
      const items = puts.map((put, i): PutAnswer => {
        const { name, version } = rules[i]!;
        if (put.change === 'conflict')
          throw new OpsError(
            'version-conflict',
            `rule ${name} has a published version ${version} with another content`,
            {
              errors: [{ pointer: `/items/${i}/version`, message: 'is published already; raise it' }],
            },
          );
        return { kind: 'rule', name, version, change: put.change, digest: put.digest };
      });
      if (items.some(({ change }) => change !== 'unchanged')) await this.cache.publish(tx);
      return { items };
    });
  }

  async patch(principal: Principal, name: string, patch: RulePatch): Promise<DocumentView> {
    return this.db.inTransaction(principal.tenant, async (tx) => {
      if (patch.live !== undefined)
        await this.documents.setLive(tx, 'rule', name, patch.live, principal.name).catch(atLive);
      const stored = await this.existing(tx, name);
      const at = this.clock.now().toISOString();
      const before = stored.meta['rollout'] as unknown as RolloutState | undefined;
      const rollout = rolloutAfter(before, patch, stored.version!, at);
      if (rollout?.version !== undefined && rollout.version !== before?.version)
        await this.documents.freeze(tx, 'rule', name, rollout.version).catch(atVersion);
      const { rollout: _rollout, returned: _returned, ...rest } = stored.meta;
      const meta: JsonObject = {
        ...rest,
        ...(patch.mode === undefined ? {} : { mode: patch.mode }),
        ...(patch.mode === undefined || patch.mode === rest['mode'] ? {} : { since: at }),
        ...(rollout === undefined ? {} : { rollout: rollout as unknown as JsonObject }),
        reason: patch.reason,
        by: principal.name,
        at,
      };
      const after = await this.documents.setMeta(tx, 'rule', name, meta);
      await this.cache.publish(tx);
      if (meta['mode'] !== 'active')
        await this.stop.stopRule(tx, name, `rule ${String(meta['mode'])}: ${patch.reason}`);
      else if (
        before?.version !== undefined &&
        before.version !== rollout?.version &&
        before.version !== stored.version
      )
        await this.stop.stopRule(
          tx,
          name,
          `version ${before.version} is tried no more: ${patch.reason}`,
          before.version,
        );
      return viewOf(after);
    });
  }

  /** Stops the rule and withdraws its episodes; its versions stay for explanations. */
  async remove(principal: Principal, name: string): Promise<void> {
    await this.db.inTransaction(principal.tenant, async (tx) => {
      if (!(await this.documents.remove(tx, 'rule', name, principal.name))) return;
      await this.cache.publish(tx);
      await this.stop.stopRule(tx, name, `rule deleted by ${principal.name}`);
    });
  }

  async get(name: string, version?: string): Promise<DocumentView> {
    const stored = await this.documents.get(this.db, 'rule', name, version);
    if (stored === undefined)
      throw new OpsError('not-found', `There is no rule ${name}${version === undefined ? '' : ` version ${version}`}`);
    return viewOf(stored);
  }

  async versions(name: string): Promise<Page<DocumentView>> {
    return { items: (await this.documents.versions('rule', name)).map(viewOf) };
  }

  async list(page: PageQuery): Promise<Page<DocumentView>> {
    const { items, nextCursor } = await this.documents.list('rule', page);
    return { items: items.map(viewOf), ...(nextCursor === undefined ? {} : { nextCursor }) };
  }

  private async existing(tx: Tx, name: string): Promise<StoredDocument> {
    const stored = await this.documents.get(tx, 'rule', name);
    if (stored === undefined) throw new OpsError('not-found', `There is no rule ${name}`);
    return stored;
  }
}

/** A rule that passed its schema and the checks behind it, with conditions in their stored form. */
export function checkedRule(body: unknown, name?: string, at = ''): RuleDocument {
  const { findings, document } = validateDocument('rule', body);
  const errors = findings
    .filter((finding) => finding.severity === 'error')
    .map(({ pointer, message, hint }) => ({
      pointer: at + pointer,
      message: hint === undefined ? message : `${message}; ${hint}`,
    }));
  if (errors.length > 0 || document === undefined) {
    throw new OpsError(
      'validation',
      errors[0] === undefined ? 'The rule is not valid' : `The rule: ${errors[0].pointer || '/'} ${errors[0].message}`,
      { errors },
    );
  }
  const rule = normaliseDocument(document as RuleDocument) as RuleDocument;
  if (name !== undefined && rule.name !== name) {
    throw new OpsError('validation', `The document is named ${rule.name}, the address ${name}`, {
      errors: [{ pointer: `${at}/name`, message: `must be ${name}, as in the address` }],
    });
  }
  return rule;
}

/** Mistakes shown of a set: a person mends some, then asks again. */
const MISTAKES_MAX = 20;

/** All rules of a set; the mistakes of all of them are told at once. */
function checkedRules(bodies: readonly unknown[]): RuleDocument[] {
  const mistakes: { pointer: string; message: string }[] = [];
  const names = new Set<string>();
  const rules = bodies.flatMap((body, i): RuleDocument[] => {
    try {
      const rule = checkedRule(body, undefined, `/items/${i}`);
      if (names.has(rule.name)) mistakes.push({ pointer: `/items/${i}/name`, message: 'is named twice' });
      names.add(rule.name);
      return [rule];
    } catch (error) {
      if (!(error instanceof OpsError)) throw error;
      mistakes.push(...(error.options.errors ?? [{ pointer: `/items/${i}`, message: error.detail }]));
      return [];
    }
  });
  if (mistakes.length > 0)
    throw new OpsError('validation', `${mistakes.length} mistakes in ${bodies.length} rules; nothing was stored`, {
      errors: mistakes.slice(0, MISTAKES_MAX),
    });
  return rules;
}

/** What is tried after a change; shares of the same version go on where they were. */
function rolloutAfter(
  before: RolloutState | undefined,
  { rollout: wish }: RulePatch,
  live: string,
  at: string,
): RolloutState | undefined {
  if (wish === undefined) return before?.version === live ? undefined : before;
  if (wish === null) return undefined;
  const same = before?.version !== undefined && (wish.version ?? before.version) === before.version;
  const next = { percent: 0, ...(same ? before : {}), ...wish };
  if (next.version === live)
    throw wrong('/rollout/version', `is live already; put the version that is to act on the rest live first`);
  if (next.version === undefined && wish.percent === undefined)
    throw wrong('/rollout/percent', 'is needed where no version is tried');
  return next.version === undefined || same ? next : { ...next, since: at };
}

function wrong(pointer: string, message: string): OpsError {
  return new OpsError('validation', `The change: ${pointer} ${message}`, { errors: [{ pointer, message }] });
}

const unknownVersion =
  (pointer: string) =>
  (error: unknown): never => {
    if (!(error instanceof OpsError) || error.code !== 'not-found') throw error;
    throw wrong(pointer, 'is not a stored version; store it with PUT …?live=false');
  };
const atLive = unknownVersion('/live');
const atVersion = unknownVersion('/rollout/version');

function metaOf(rule: RuleDocument): JsonObject {
  return {
    mode: rule.mode ?? 'active',
    ...(rule.rollout === undefined ? {} : { rollout: rule.rollout as unknown as JsonObject }),
  };
}

function viewOf(stored: StoredDocument): DocumentView {
  return {
    kind: 'rule',
    name: stored.name,
    ...(stored.version === undefined ? {} : { version: stored.version }),
    digest: stored.digest,
    status: stored.status,
    live: stored.live,
    createdAt: stored.createdAt,
    createdBy: stored.createdBy,
    body: stored.body,
    meta: stored.meta,
  };
}
