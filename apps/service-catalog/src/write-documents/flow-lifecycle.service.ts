import { Inject, Injectable } from '@nestjs/common';
import type { FlowDocument } from '@opsloop/contracts';
import { OpsError } from '@opsloop/contracts';
import { validateDocument, type World } from '@opsloop/dsl';
import type { Finding } from '@opsloop/rules';
import type { Principal } from '@opsloop/platform';
import { Database, DocumentStore, type DocumentStatus, type Tx } from '@opsloop/postgres';
import { AuditRepository } from '../read-audit/audit.repository.js';
import { compileDocument, findingsProblem } from '../resolve-references/compile.pure.js';
import {
  pick,
  type Snapshot,
  type StoredOffering,
  versionsOf,
  withPublished,
} from '../resolve-references/snapshot.pure.js';
import { SnapshotRepository } from '../resolve-references/snapshot.repository.js';
import { newerPublished } from '../resolve-references/version.pure.js';
import { Surroundings } from '../validate-documents/surroundings.service.js';
import { catalogWorld } from '../validate-documents/validate.pure.js';
import { CATALOG_STORE, takeTurn } from './document-writer.service.js';

export interface VersionActOutcome {
  kind: 'flow';
  name: string;
  version: string;
  status: DocumentStatus;
  changed: boolean;
  /** Versions that this act took out of use. */
  deprecated: string[];
  /** Of a publication: what does not forbid it. */
  warnings?: Finding[];
}

interface Turn {
  tx: Tx;
  snapshot: Snapshot;
  versions: readonly StoredOffering[];
  target: StoredOffering;
}

/**
 * Draft → published → deprecated, and back to published by publish or rollback. What may start is decided by these
 * states alone; documents never change once published.
 */
@Injectable()
export class FlowLifecycle {
  constructor(
    private readonly db: Database,
    @Inject(CATALOG_STORE) private readonly store: DocumentStore,
    private readonly audit: AuditRepository,
    private readonly snapshots: SnapshotRepository,
    private readonly surroundings: Surroundings,
  ) {}

  async publish(
    who: Principal,
    name: string,
    act: { version: string; reason?: string | undefined },
  ): Promise<VersionActOutcome> {
    const { world: around } = await this.surroundings.around(who.tenant, [name]);
    return this.inTurn(who, name, act.version, async ({ tx, snapshot, target }) => {
      if (target.status === 'published') return this.outcome(target, 'published', false);
      mustCompile(snapshot, target);
      // What was published once has been relied on since; it may come back as it is.
      const warnings = target.status === 'draft' ? mustBeSound(snapshot, target, around) : [];
      await this.store.setStatus(tx, 'flow', name, act.version, 'published');
      await this.record(tx, who, 'publish', target, act.reason);
      return { ...this.outcome(target, 'published', true), ...(warnings.length === 0 ? {} : { warnings }) };
    });
  }

  rollback(
    who: Principal,
    name: string,
    act: { version: string; reason?: string | undefined },
  ): Promise<VersionActOutcome> {
    return this.inTurn(who, name, act.version, async ({ tx, snapshot, versions, target }) => {
      if (target.status === 'draft')
        throw new OpsError('conflict', `${name} ${act.version} is a draft; publish it instead`);
      const newer = newerPublished(versions, act.version);
      if (newer.length === 0 && target.status === 'published') return this.outcome(target, 'published', false);
      mustCompile(snapshot, target);
      for (const version of newer) await this.store.setStatus(tx, 'flow', name, version.version, 'deprecated');
      await this.store.setStatus(tx, 'flow', name, act.version, 'published');
      await this.record(tx, who, 'rollback', target, act.reason);
      return this.outcome(
        target,
        'published',
        true,
        newer.map((v) => v.version),
      );
    });
  }

  deprecate(
    who: Principal,
    name: string,
    act: { version: string; reason?: string | undefined },
  ): Promise<VersionActOutcome> {
    return this.inTurn(who, name, act.version, async ({ tx, target }) => {
      if (target.status === 'draft')
        throw new OpsError('conflict', `${name} ${act.version} is a draft; nothing uses it`);
      if (target.status === 'deprecated') return this.outcome(target, 'deprecated', false);
      await this.store.setStatus(tx, 'flow', name, act.version, 'deprecated');
      await this.record(tx, who, 'deprecate', target, act.reason);
      return this.outcome(target, 'deprecated', true, [act.version]);
    });
  }

  private inTurn(
    who: Principal,
    name: string,
    version: string,
    act: (turn: Turn) => Promise<VersionActOutcome>,
  ): Promise<VersionActOutcome> {
    return this.db.inTransaction(who.tenant, async (tx) => {
      await takeTurn(tx);
      const snapshot = await this.snapshots.current(who.tenant, tx);
      const versions = versionsOf(snapshot, 'flow', name);
      const target = versions.find((v) => v.version === version);
      if (target === undefined) throw new OpsError('not-found', `There is no flow ${name} in version ${version}`);
      return act({ tx, snapshot, versions, target });
    });
  }

  private record(
    tx: Tx,
    who: Principal,
    act: 'publish' | 'rollback' | 'deprecate',
    target: StoredOffering,
    reason?: string,
  ): Promise<void> {
    const { name, version, digest } = target;
    return this.audit.record(tx, {
      by: who.name,
      act,
      kind: 'flow',
      name,
      version,
      digest,
      ...(reason === undefined ? {} : { reason }),
    });
  }

  private outcome(
    target: StoredOffering,
    status: DocumentStatus,
    changed: boolean,
    deprecated: string[] = [],
  ): VersionActOutcome {
    return { kind: 'flow', name: target.name, version: target.version, status, changed, deprecated };
  }
}

/** Whatever can start must be complete: every reference resolves to something published. */
function mustCompile(snapshot: Snapshot, target: StoredOffering): void {
  const document = target.body as FlowDocument;
  const { compiled, findings } = compileDocument(withPublished(snapshot, [document]), document);
  if (compiled === undefined) throw findingsProblem(`${target.name} ${target.version} cannot be published`, findings);
}

/**
 * Against the whole catalog more is certain than against the document alone: inputs, effects, what callers rely on, what
 * the environment allows. Gives what is not forbidden and still worth knowing.
 */
function mustBeSound(snapshot: Snapshot, target: StoredOffering, around: World): Finding[] {
  const runsInFlight = around.runsInFlightOf?.(target.name);
  const { findings } = validateDocument('flow', target.body, {
    // Configs may follow; they are looked at when a run starts.
    ...catalogWorld(snapshot, undefined, around.configs),
    ...publishedOf(snapshot, target),
    ...(runsInFlight === undefined ? {} : { runsInFlight }),
  });
  if (findings.some(({ severity }) => severity === 'error'))
    throw findingsProblem(`${target.name} ${target.version} cannot be published`, findings);
  return findings;
}

/** The newest published version, when it is older: what callers have relied on until now. */
function publishedOf(snapshot: Snapshot, target: StoredOffering): Pick<World, 'published'> {
  const before = pick(snapshot, 'flow', target.name)?.body;
  return before?.kind === 'flow' ? { published: before } : {};
}
