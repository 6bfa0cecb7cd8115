import { type BeforeApplicationShutdown, Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { AtomCall, Json } from '@opsloop/contracts';
import { Logger, Readiness } from '@opsloop/platform';
import { createAtomWorker, createFlowWorker, TemporalConnection, WorkerHost } from '@opsloop/temporal';
import { INTERPRETER_CONFIG, type DslInterpreterConfig } from '../config.js';
import { RunAtom } from '../run-atoms/run-atom.service.js';
import { FlowActivitiesService } from '../serve-runs/flow-activities.service.js';

/**
 * Starts the two workers: flows with their local activities, and the atoms that every flow may call. They poll once the
 * process listens: steps ask control, which may be this very process, and would be told to wait before.
 */
@Injectable()
export class Workers implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private startPolling: (() => void) | undefined;

  constructor(
    @Inject(TemporalConnection) private readonly temporal: TemporalConnection,
    @Inject(WorkerHost) private readonly host: WorkerHost,
    @Inject(Readiness) private readonly readiness: Readiness,
    @Inject(Logger) private readonly logger: Logger,
    @Inject(INTERPRETER_CONFIG) private readonly config: DslInterpreterConfig,
    @Inject(RunAtom) private readonly atoms: RunAtom,
    @Inject(FlowActivitiesService) private readonly flows: FlowActivitiesService,
    @Inject(HttpAdapterHost) private readonly http: HttpAdapterHost,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    const { temporal, host, readiness, config } = this;
    // The activity type is the atom's name, so one handler answers for all names.
    const runAtom = (call: AtomCall): Promise<Json> => this.atoms.run(call);
    const atomWorker = await createAtomWorker({
      temporal,
      activities: { default: runAtom },
      concurrency: config.atomConcurrency,
    });
    const flowWorker = await createFlowWorker({
      temporal,
      activities: { ...this.flows.activities(), default: runAtom },
      cacheDir: config.cacheDir,
      log: this.logger,
      ...(config.deployment === undefined ? {} : { deployment: config.deployment }),
    });
    this.startPolling = () => {
      this.startPolling = undefined;
      // Atoms first: a flow that starts at once finds somebody for its first step.
      host.start('atoms', atomWorker);
      host.start('flows', flowWorker);
    };
    this.http.listen$.subscribe(() => this.startPolling?.());
    readiness.register('atom worker', () => host.check('atoms'));
    readiness.register('flow worker', () => host.check('flows'));
  }

  /** A start that failed before it listened: the SDK can only end a worker that has run, and the connection waits for it. */
  beforeApplicationShutdown(): void {
    this.startPolling?.();
  }
}
