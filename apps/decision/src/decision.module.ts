import type { DynamicModule } from '@nestjs/common';
import { Module } from '@nestjs/common';
import { AtomExecutor, HttpGuard, ScriptRunner, StoredSecrets } from '@opsloop/atoms';
import { NoticeService } from '@opsloop/bus';
import type { PlatformConfig } from '@opsloop/platform';
import { InternalClient, Logger, PLATFORM_CONFIG } from '@opsloop/platform';
import { Database, DocumentStore } from '@opsloop/postgres';
import { BacktestController } from './backtest/backtest.controller.js';
import { BacktestService } from './backtest/backtest.service.js';
import type { DecisionConfig } from './config.js';
import { DECISION_CONFIG } from './config.js';
import { DecideService } from './decide/decide.service.js';
import { EventsConsumer } from './decide/events.consumer.js';
import { WindowsService } from './decide/windows.service.js';
import { ConfigCache } from './documents/config-cache.service.js';
import { DocumentsConsumer } from './documents/documents.consumer.js';
import { DocumentsService } from './documents/documents.service.js';
import { AroundService } from './facts/around.service.js';
import { FactCounts } from './facts/fact-counts.repository.js';
import { TableCache } from './facts/table-cache.service.js';
import { IncidentsController } from './incidents/incidents.controller.js';
import { IncidentsRepository } from './incidents/incidents.repository.js';
import { IncidentsService } from './incidents/incidents.service.js';
import { MaintenanceController } from './maintenance/maintenance.controller.js';
import { MaintenanceService } from './maintenance/maintenance.service.js';
import { MaintenanceCache } from './maintenance/maintenance-cache.service.js';
import { DueService } from './episodes/due.service.js';
import { LoopsService } from './episodes/loops.service.js';
import { MissedEndsService } from './episodes/missed-ends.service.js';
import { Observer } from './episodes/observer.service.js';
import { RepeatService } from './episodes/repeat.service.js';
import { ResyncService } from './episodes/resync.service.js';
import { StopService } from './episodes/stop.service.js';
import { DecisionsRepository } from './explain/decisions.repository.js';
import { EpisodeStoryService } from './explain/episode-story.service.js';
import { ExplainController } from './explain/explain.controller.js';
import { ExplainService } from './explain/explain.service.js';
import { RecheckController } from './recheck/recheck.controller.js';
import { GroupsService } from './recheck/groups.service.js';
import { RecheckService } from './recheck/recheck.service.js';
import { ResourceRepository } from './resources/resource.repository.js';
import { ResourcesController } from './resources/resources.controller.js';
import { ResourcesService } from './resources/resources.service.js';
import { RetainService } from './retain/retain.service.js';
import { RuleCache } from './rules/rule-cache.service.js';
import { RuleTestService } from './rules/rule-test.service.js';
import { RulesController } from './rules/rules.controller.js';
import { RulesService } from './rules/rules.service.js';
import { RunsConsumer } from './runs/runs.consumer.js';
import { RunsService } from './runs/runs.service.js';
import { AgreementService } from './trials/agreement.service.js';
import { ReturnService } from './trials/return.service.js';
import { TrialsController } from './trials/trials.controller.js';
import { WorldRepository } from './store/world.repository.js';
import { WorldService } from './store/world.service.js';

/** Rules, resources, episodes and decisions. Expects the platform, PostgreSQL and the bus from whoever composes it. */
@Module({})
export class DecisionModule {
  static register(config: DecisionConfig): DynamicModule {
    return {
      module: DecisionModule,
      controllers: [
        // Before the rules: `backtest/<id>` would be the name of one.
        BacktestController,
        TrialsController,
        RulesController,
        ResourcesController,
        ExplainController,
        IncidentsController,
        MaintenanceController,
        RecheckController,
        EventsConsumer,
        RunsConsumer,
        DocumentsConsumer,
      ],
      providers: [
        { provide: DECISION_CONFIG, useValue: config },
        { provide: DocumentStore, inject: [Database], useFactory: (db: Database) => new DocumentStore(db, 'decision') },
        { provide: AtomExecutor, inject: [PLATFORM_CONFIG, DECISION_CONFIG, InternalClient], useFactory: executorOf },
        {
          provide: NoticeService,
          inject: [Database, Logger, PLATFORM_CONFIG],
          useFactory: (db: Database, logger: Logger, platform: PlatformConfig) =>
            new NoticeService(db, logger, platform, 'decision'),
        },
        AgreementService,
        AroundService,
        ReturnService,
        BacktestService,
        ConfigCache,
        FactCounts,
        IncidentsRepository,
        IncidentsService,
        MaintenanceCache,
        MaintenanceService,
        TableCache,
        DecideService,
        DocumentsService,
        DecisionsRepository,
        DueService,
        EpisodeStoryService,
        ExplainService,
        LoopsService,
        MissedEndsService,
        Observer,
        GroupsService,
        RecheckService,
        ResourceRepository,
        ResourcesService,
        RepeatService,
        ResyncService,
        RetainService,
        RuleCache,
        RuleTestService,
        RulesService,
        RunsService,
        StopService,
        WindowsService,
        WorldRepository,
        WorldService,
      ],
    };
  }
}

/** Observations go through the same guard as every outgoing call of a flow. */
function executorOf(
  { httpAllow, embedded, ownPorts }: PlatformConfig,
  { scripts, atoms }: DecisionConfig,
  internal: InternalClient,
): Pick<AtomExecutor, 'execute'> {
  if (atoms !== undefined) return atoms;
  const guard = new HttpGuard({ allow: httpAllow, embedded, ...(ownPorts === undefined ? {} : { ownPorts }) });
  const secrets = new StoredSecrets((name) => internal.secret(name));
  return new AtomExecutor({ guard, embedded, secrets, scripts: new ScriptRunner({ ...scripts, embedded }) });
}
