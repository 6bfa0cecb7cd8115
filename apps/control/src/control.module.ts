import { type DynamicModule, Module } from '@nestjs/common';
import { NoticeService } from '@opsloop/bus';
import { Logger, PLATFORM_CONFIG, type PlatformConfig } from '@opsloop/platform';
import { Database, DocumentStore, type MigrationSet } from '@opsloop/postgres';
import { AdmissionRepository } from './admit/admission.repository.js';
import { AdmitService } from './admit/admit.service.js';
import { OfferingService } from './admit/offering.service.js';
import { StartsConsumer } from './admit/starts.consumer.js';
import { StartsService } from './admit/starts.service.js';
import { CONTROL_CONFIG, type ControlConfig } from './config.js';
import { ApprovalNotices } from './approvals/approval-notices.service.js';
import { ApprovalRepository } from './approvals/approval.repository.js';
import { ApprovalsController, InternalApprovalsController } from './approvals/approvals.controller.js';
import { ApprovalsLoop } from './approvals/approvals.loop.service.js';
import { ApprovalsService } from './approvals/approvals.service.js';
import { DeliverEventsService } from './deliver-events/deliver-events.service.js';
import { EventWaits } from './deliver-events/event-waits.repository.js';
import { EventsConsumer } from './deliver-events/events.consumer.js';
import { CreateControl1700000003000 } from './migrations/1700000003000-create-control.js';
import { WaitForPeopleAndEvents1700000003010 } from './migrations/1700000003010-wait-for-people-and-events.js';
import { SteerRuns1700000003020 } from './migrations/1700000003020-steer-runs.js';
import { KeepLogs1700000003030 } from './migrations/1700000003030-keep-logs.js';
import { AdmitOne1700000003050 } from './migrations/1700000003050-admit-one.js';
import { LockForOthers1700000003100 } from './migrations/1700000003100-lock-for-others.js';
import { Brake1700000003310 } from './migrations/1700000003310-brake.js';
import { Schedules1700000003320 } from './migrations/1700000003320-schedules.js';
import { FireService } from './schedules/fire.service.js';
import { ScheduleRepository } from './schedules/schedule.repository.js';
import { SchedulesStateController } from './schedules/schedules.controller.js';
import { SchedulesService } from './schedules/schedules.service.js';
import { SyncSchedules } from './schedules/sync.service.js';
import { Autonomy1700000003330 } from './migrations/1700000003330-autonomy.js';
import { TellWhoWaits1700000003160 } from './migrations/1700000003160-tell-who-waits.js';
import { ReadClaimsByKey1700000003345 } from './migrations/1700000003345-read-claims-by-key.js';
import { WakeByRank1700000003360 } from './migrations/1700000003360-wake-by-rank.js';
import { FindByFence1700000003370 } from './migrations/1700000003370-find-by-fence.js';
import { AutonomyController } from './statistics/autonomy.controller.js';
import { RetainService } from './retain/retain.service.js';
import { AutonomyService } from './statistics/autonomy.service.js';
import { LevelsService } from './statistics/levels.service.js';
import { WatchRuns1700000003300 } from './migrations/1700000003300-watch-runs.js';
import { BrakeService } from './brake/brake.service.js';
import { VerifiedConsumer } from './brake/verified.consumer.js';
import { VerifiedService } from './brake/verified.service.js';
import { DiagnoseService } from './diagnose/diagnose.service.js';
import { GrantTogether1700000003120 } from './migrations/1700000003120-grant-together.js';
import { PassLateWaiters1700000003110 } from './migrations/1700000003110-pass-late-waiters.js';
import { FreeOne1700000003240 } from './migrations/1700000003240-free-one.js';
import { FreeAtOnce1700000003230 } from './migrations/1700000003230-free-at-once.js';
import { IndexControlByAge1700000003220 } from './migrations/1700000003220-index-by-age.js';
import { HoldPolicies1700000003200 } from './migrations/1700000003200-hold-policies.js';
import { PolicyApprovalsService } from './approvals/policy-approvals.service.js';
import { PolicyQuestions } from './approvals/policy-questions.repository.js';
import { BackpressureService } from './policies/backpressure.service.js';
import { PreemptService } from './policies/preempt.service.js';
import { StormRepository } from './policies/storm.repository.js';
import { PolicyTestService } from './policies/policy-test.service.js';
import { ThawService } from './policies/thaw.service.js';
import { TurnsService } from './policies/turns.service.js';
import { BudgetRepository } from './policies/budget.repository.js';
import { PolicyGate } from './policies/gate.service.js';
import { InventoryService } from './policies/inventory.service.js';
import { PolicyController } from './policies/policy.controller.js';
import { LimitService } from './policies/limit.service.js';
import { PolicyService } from './policies/policy.service.js';
import { EndWaitingService } from './queue/end-waiting.service.js';
import { QueueService } from './queue/queue.service.js';
import { CloseRunService } from './runs/close-run.service.js';
import { TellAgainController } from './runs/tell-again.controller.js';
import { TellAgainService } from './runs/tell-again.service.js';
import { InternalRunsController } from './runs/internal-runs.controller.js';
import { AtomLocksService } from './runs/atom-locks.service.js';
import { OpenRunsController } from './runs/open-runs.controller.js';
import { OpenRunsService } from './runs/open-runs.service.js';
import { InternalRunsService } from './runs/internal-runs.service.js';
import { Signals } from './signals.service.js';
import { HoldService } from './start/hold.service.js';
import { StarterService } from './start/starter.service.js';
import { WorkflowClient } from './start/workflow-client.service.js';
import { AdmissionsController } from './admissions/admissions.controller.js';
import { AdmissionsService } from './admissions/admissions.service.js';
import { CatalogRunsController } from './catalog-runs/catalog-runs.controller.js';
import { CatalogRunsService } from './catalog-runs/catalog-runs.service.js';
import { RunWaiter } from './catalog-runs/run-waiter.service.js';
import { HaltService } from './halts/halt.service.js';
import { AllowService } from './halts/allow.service.js';
import { AllowController, HaltsController, InternalHaltsController } from './halts/halts.controller.js';
import { QueuedAtoms } from './halts/queued-atoms.service.js';
import { HoldsService } from './halts/holds.service.js';
import { InternalLogsController, LogsController } from './keep-logs/logs.controller.js';
import { LogsService } from './keep-logs/logs.service.js';
import { GroupsService } from './lock/groups.service.js';
import { LockController } from './lock/lock.controller.js';
import { LockTurns } from './lock/lock-turns.service.js';
import { LockService } from './lock/lock.service.js';
import { OperateService } from './runs/operate.service.js';
import { ReconcileService } from './runs/reconcile.service.js';
import { RunReader } from './runs/run-reader.service.js';
import { RunsController } from './runs/runs.controller.js';
import { ActionsService } from './steer/actions.service.js';
import { JournalRepository } from './steer/journal.repository.js';
import { RetryService } from './steer/retry.service.js';
import { SteerClient } from './steer/steer-client.service.js';
import { SteerController } from './steer/steer.controller.js';
import { SteerService } from './steer/steer.service.js';
import { StatusController } from './status/status.controller.js';
import { StatusService } from './status/status.service.js';
import { VerifyController } from './verify-atoms/verify.controller.js';
import { VerifyService } from './verify-atoms/verify.service.js';

const SCHEMA = 'control';

export const controlMigrations: MigrationSet = {
  schema: SCHEMA,
  migrations: [
    CreateControl1700000003000,
    WaitForPeopleAndEvents1700000003010,
    SteerRuns1700000003020,
    KeepLogs1700000003030,
    AdmitOne1700000003050,
    LockForOthers1700000003100,
    PassLateWaiters1700000003110,
    GrantTogether1700000003120,
    HoldPolicies1700000003200,
    IndexControlByAge1700000003220,
    FreeAtOnce1700000003230,
    FreeOne1700000003240,
    WatchRuns1700000003300,
    Brake1700000003310,
    Schedules1700000003320,
    Autonomy1700000003330,
    TellWhoWaits1700000003160,
    ReadClaimsByKey1700000003345,
    WakeByRank1700000003360,
    FindByFence1700000003370,
  ],
};

const CONTROLLERS: NonNullable<DynamicModule['controllers']> = [
  StartsConsumer,
  EventsConsumer,
  ApprovalsController,
  InternalApprovalsController,
  PolicyController,
  InternalRunsController,
  LockController,
  SteerController,
  RunsController,
  LogsController,
  VerifyController,
  InternalLogsController,
  CatalogRunsController,
  AdmissionsController,
  HaltsController,
  AllowController,
  SchedulesStateController,
  AutonomyController,
  VerifiedConsumer,
  InternalHaltsController,
  StatusController,
  TellAgainController,
  OpenRunsController,
];

const PROVIDERS: NonNullable<DynamicModule['providers']> = [
  { provide: DocumentStore, inject: [Database], useFactory: (db: Database) => new DocumentStore(db, SCHEMA) },
  Signals,
  EventWaits,
  DeliverEventsService,
  ApprovalRepository,
  ApprovalNotices,
  ApprovalsService,
  ApprovalsLoop,
  AdmissionRepository,
  OfferingService,
  BudgetRepository,
  LimitService,
  InventoryService,
  GroupsService,
  PolicyService,
  PolicyGate,
  AdmitService,
  StartsService,
  EndWaitingService,
  QueueService,
  HoldService,
  WorkflowClient,
  StarterService,
  CloseRunService,
  InternalRunsService,
  AtomLocksService,
  LockTurns,
  LockService,
  DiagnoseService,
  RunReader,
  LogsService,
  VerifyService,
  OperateService,
  JournalRepository,
  SteerClient,
  SteerService,
  RetryService,
  ActionsService,
  ReconcileService,
  {
    provide: NoticeService,
    inject: [Database, Logger, PLATFORM_CONFIG],
    useFactory: (db: Database, logger: Logger, config: PlatformConfig) =>
      new NoticeService(db, logger, config, 'control'),
  },
  VerifiedService,
  QueuedAtoms,
  HaltService,
  AllowService,
  BrakeService,
  ScheduleRepository,
  SyncSchedules,
  FireService,
  LevelsService,
  AutonomyService,
  RetainService,
  SchedulesService,
  HoldsService,
  RunWaiter,
  CatalogRunsService,
  AdmissionsService,
  StatusService,
  StormRepository,
  BackpressureService,
  PolicyQuestions,
  PolicyApprovalsService,
  PreemptService,
  ThawService,
  PolicyTestService,
  TurnsService,
  TellAgainService,
  OpenRunsService,
];

/** The one choke point: everything that starts work is admitted, queued, started, halted and closed here. */
@Module({})
export class ControlModule {
  static register(config: ControlConfig): DynamicModule {
    return {
      module: ControlModule,
      controllers: CONTROLLERS,
      providers: [{ provide: CONTROL_CONFIG, useValue: config }, ...PROVIDERS],
    };
  }
}
