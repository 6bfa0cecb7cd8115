import { Inject, Injectable } from '@nestjs/common';
import type { BeforeApplicationShutdown, OnApplicationBootstrap } from '@nestjs/common';
import { AtomExecutor } from '@opsloop/atoms';
import { newId } from '@opsloop/contracts/ids';
import { OpsError, stepKey } from '@opsloop/contracts';
import type { AtomDocument, Json, JsonObject, ResourceView, SourceDocument } from '@opsloop/contracts';
import { Clock, InternalClient, Logger } from '@opsloop/platform';
import { Database, DocumentStore, startDueLoop } from '@opsloop/postgres';
import type { DueLoop } from '@opsloop/postgres';
import { AcceptService } from '../accept/accept.service.js';
import { SilenceService } from '../watch-silence/silence.service.js';
import { INGEST_CONFIG } from '../config.js';
import type { EventIngestConfig } from '../config.js';
import { Gate } from './gate.js';
import { changeEvent, pollInput } from './poll.pure.js';
import type { LastValue, PollScope } from './poll.pure.js';
import { PollRepository } from './poll.repository.js';
import { RemoteCache, lookTimeoutMs } from './remote-cache.js';

/** Resources that one source may watch; more of them in one process would not fit a period anyway. */
const RESOURCES_MAX = 10_000;

/** One source at one of its turns. */
interface Round {
  tenant: string;
  source: SourceDocument;
  atom: AtomDocument;
  config: Record<string, JsonObject>;
  last: Map<string, LastValue>;
}

/** Poll sources: looks at every matching resource on a fixed schedule and reports what changed. */
@Injectable()
export class PollService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private loop: DueLoop | undefined;
  private readonly gate: Gate;
  private readonly stopping = new AbortController();
  /** `source\0path` of looks under way: a slow target is not asked again before it has answered. */
  private readonly looking = new Map<string, Promise<void>>();
  private readonly failing = new Set<string>();

  constructor(
    private readonly database: Database,
    private readonly repository: PollRepository,
    private readonly documents: DocumentStore,
    private readonly accepting: AcceptService,
    private readonly internal: InternalClient,
    private readonly cache: RemoteCache,
    private readonly executor: AtomExecutor,
    private readonly silence: SilenceService,
    private readonly clock: Clock,
    private readonly logger: Logger,
    @Inject(INGEST_CONFIG) config: EventIngestConfig,
  ) {
    this.gate = new Gate(config.pollConcurrency);
  }

  onApplicationBootstrap(): void {
    this.loop = startDueLoop({ name: 'ingest-polls', logger: this.logger, run: (batch) => this.startDue(batch) });
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.loop?.stop();
    this.stopping.abort(new OpsError('cancelled', 'the process is shutting down'));
    await Promise.allSettled(this.looking.values());
  }

  /** Starts the rounds that are due; does not wait for targets, which would delay the other sources. */
  private async startDue(batch: number): Promise<number> {
    const due = await this.repository.claimDue(batch);
    await Promise.all(
      due.map(({ tenant, source }) =>
        this.startRound(tenant, source).catch((error: unknown) => this.failed(source, error)),
      ),
    );
    return due.length;
  }

  private async startRound(tenant: string, name: string): Promise<void> {
    const stored = await this.documents.get(this.database, 'source', name);
    if (stored === undefined || !stored.live) return;
    const source = stored.body as unknown as SourceDocument;
    const [{ items }, atom, config, last] = await Promise.all([
      this.internal.call('POST /internal/decision/resources', { ...source.for, limit: RESOURCES_MAX }),
      this.cache.readAtom(source.call!),
      this.cache.allConfigs(),
      this.repository.lastValues(tenant, name),
    ]);
    await this.forgetOthers(tenant, name, items, last);
    const round: Round = { tenant, source, atom, config, last };
    for (const resource of items) this.startLook(round, resource);
    this.failing.delete(name);
  }

  private startLook(round: Round, resource: ResourceView): void {
    const key = `${round.source.name}\u0000${resource.path}`;
    if (this.looking.has(key)) return;
    const look = this.gate
      .run(() => this.look(round, resource))
      .then(
        () => void this.failing.delete(key),
        (error: unknown) => this.failed(key, error),
      )
      .finally(() => this.looking.delete(key));
    this.looking.set(key, look);
  }

  private async look(round: Round, resource: ResourceView): Promise<void> {
    const { source, config, tenant } = round;
    const scope: PollScope = { resource, config };
    const last = round.last.get(resource.path);
    const observedAt = this.clock.now();
    const result = await this.callAtom(round, pollInput(source, scope), resource.path);
    this.silence.heard(source, this.clock.now());
    const seen = { result, observedAt, now: this.clock.now(), eventId: newId() };
    const item = changeEvent(source, scope, seen, last);
    if (item !== undefined) await this.accepting.accept({ tenant, items: [item] });
  }

  private callAtom({ atom, config, source, tenant }: Round, input: Json, path: string): Promise<Json> {
    const run = `poll/${source.name}`;
    const timeoutMs = lookTimeoutMs(atom);
    const signal = AbortSignal.any([AbortSignal.timeout(timeoutMs), this.stopping.signal]);
    const context = { run, step: path, key: stepKey(run, path, 0), tenant, dryRun: false };
    return this.executor.execute({ input, context, atom, config }, atom.name, signal, { timeoutMs });
  }

  private async forgetOthers(
    tenant: string,
    source: string,
    items: ResourceView[],
    last: Map<string, LastValue>,
  ): Promise<void> {
    // A list that was cut says nothing about those it does not hold.
    if (items.length >= RESOURCES_MAX) return;
    const watched = new Set(items.map((item) => item.path));
    const gone = [...last].filter(([path, value]) => value.digest !== null && !watched.has(path)).map(([path]) => path);
    if (gone.length > 0) await this.repository.forget(tenant, source, gone);
  }

  /** Said once per failure that lasts: a target that is down for an hour must not write a line each period. */
  private failed(key: string, error: unknown): void {
    if (this.failing.has(key) || this.stopping.signal.aborted) return;
    this.failing.add(key);
    const [source, resource] = key.split('\u0000');
    this.logger.warn('a poll could not look; it goes on trying', { source, resource, error });
  }
}
