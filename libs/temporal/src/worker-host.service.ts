import type { Worker } from '@temporalio/worker';
import { OpsError } from '@opsloop/contracts';
import type { Log } from './log.js';
import type { TemporalConnection } from './temporal-connection.service.js';

/**
 * Runs the workers of this process and stops them. They drain while HTTP still answers: a run that ends in these
 * seconds reports to control, which may be this very process. The connection is closed at the very end, since closing
 * it under a running worker throws.
 */
export class WorkerHost {
  private readonly running = new Map<string, { worker: Worker; done: Promise<void>; failure?: unknown }>();

  constructor(
    private readonly temporal: TemporalConnection,
    private readonly log: Log,
  ) {}

  /** Starts polling. A worker that dies later fails {@link check}, so that the process is taken out of service. */
  start(name: string, worker: Worker): void {
    const entry: { worker: Worker; done: Promise<void>; failure?: unknown } = { worker, done: Promise.resolve() };
    entry.done = worker.run().catch((error: unknown) => {
      entry.failure = error;
      this.log.error('worker stopped', {
        worker: name,
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      });
    });
    this.running.set(name, entry);
  }

  /** Throws unless this worker polls. */
  check(name: string): void {
    const entry = this.running.get(name);
    if (entry === undefined) throw new OpsError('unavailable', `worker ${name} is not started`);
    const state = entry.worker.getState();
    if (state !== 'RUNNING') throw new OpsError('unavailable', `worker ${name} is ${state.toLowerCase()}`);
  }

  /** Stops polling, lets activities in flight end within the workers' grace time, and waits for it. */
  async drain(): Promise<void> {
    for (const { worker } of this.running.values()) if (worker.getState() === 'RUNNING') worker.shutdown();
    await Promise.all([...this.running.values()].map((entry) => entry.done));
    this.running.clear();
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.drain();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.drain();
    await this.temporal.connection.close();
  }
}
