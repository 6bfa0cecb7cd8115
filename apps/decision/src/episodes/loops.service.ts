import { Inject, Injectable } from '@nestjs/common';
import type { OnApplicationBootstrap, OnApplicationShutdown } from '@nestjs/common';
import { Logger } from '@opsloop/platform';
import type { DueLoop } from '@opsloop/postgres';
import { startDueLoop } from '@opsloop/postgres';
import type { DecisionConfig } from '../config.js';
import { DECISION_CONFIG } from '../config.js';
import { WindowsService } from '../decide/windows.service.js';
import { RetainService } from '../retain/retain.service.js';
import { DueService } from './due.service.js';
import { MissedEndsService } from './missed-ends.service.js';
import { RepeatService, UNANSWERED_MS } from './repeat.service.js';
import { ResyncService } from './resync.service.js';

const SWEEP_MS = 60_000;
/** Rows of one sweep by age; full batches follow each other at once. */
const RETAIN_ROWS = 5_000;
/** The sweep of undeclared resources has no index (one would cost every observation), so it comes rarely. */
const RETAIN_MS = 10 * 60_000;

/** Everything in this app that waits for a time instead of a message. */
@Injectable()
export class LoopsService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loops: DueLoop[] = [];

  constructor(
    private readonly due: DueService,
    private readonly windows: WindowsService,
    private readonly resync: ResyncService,
    private readonly repeat: RepeatService,
    private readonly missed: MissedEndsService,
    private readonly retain: RetainService,
    private readonly logger: Logger,
    @Inject(DECISION_CONFIG) private readonly config: DecisionConfig,
  ) {}

  onApplicationBootstrap(): void {
    const { logger } = this;
    const once = (run: () => Promise<unknown>) => async (): Promise<number> => (await run(), 0);
    this.loops = [
      startDueLoop({ name: 'decision episodes', logger, run: (batch) => this.due.run(batch) }),
      startDueLoop({ name: 'decision windows', logger, run: (batch) => this.windows.run(batch) }),
      startDueLoop({ name: 'decision checks', logger, run: (batch) => this.resync.runChecks(batch) }),
      startDueLoop({
        name: 'decision resync',
        everyMs: this.config.resyncMs,
        patrol: true,
        logger,
        run: once(() => this.resync.pass()),
      }),
      startDueLoop({
        name: 'decision unanswered starts',
        everyMs: UNANSWERED_MS,
        logger,
        run: once(() => this.repeat.run()),
      }),
      startDueLoop({
        name: 'decision missed ends',
        everyMs: UNANSWERED_MS,
        logger,
        run: once(() => this.missed.run()),
      }),
      startDueLoop({
        name: 'decision retention',
        everyMs: RETAIN_MS,
        batch: RETAIN_ROWS,
        logger,
        run: (batch) => this.retain.sweep(batch),
      }),
      startDueLoop({ name: 'decision window sweep', everyMs: SWEEP_MS, logger, run: once(() => this.windows.sweep()) }),
    ];
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all(this.loops.map((loop) => loop.stop()));
  }
}
