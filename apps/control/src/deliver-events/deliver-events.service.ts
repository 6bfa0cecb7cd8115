import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { BusMessage } from '@opsloop/bus';
import { type EventMessage, eventTypeMatches } from '@opsloop/contracts';
import { Logger } from '@opsloop/platform';
import { type DueLoop, startDueLoop, type Tx } from '@opsloop/postgres';
import { WorkflowClient } from '../start/workflow-client.service.js';
import { type Due, EventWaits } from './event-waits.repository.js';
import { flowEventOf, signalBatch } from './flow-event.pure.js';

const TENANT = 'default';
/** What was put on its way wakes the loop; this is for runs that start later and for processes that died. */
const EVERY_MS = 500;
const BATCH = 64;
/** Runs that are spoken to at a time: each signal is one RPC of some 5 ms. */
const PARALLEL_MAX = 8;
/** Events of one signal: one event of the history instead of fifty, and a quarter of what a payload may have. */
const SIGNAL_EVENTS_MAX = 50;
const SIGNAL_CHARS_MAX = 512 * 1024;
/** Whoever died at it lets others at it after this; well above the RPC deadline of 5 s. */
const CLAIM_S = 15;
/** Doubles up to 64 s while Temporal is away. */
const RETRY_S = 1;
const SWEEP_MS = 60_000;
const SWEEP_BATCH = 500;

/** Brings events to the runs that wait for them: at least once, in the order in which they were accepted. */
@Injectable()
export class DeliverEventsService implements OnApplicationBootstrap, OnApplicationShutdown {
  private loops: DueLoop[] = [];

  constructor(
    private readonly waits: EventWaits,
    private readonly workflows: WorkflowClient,
    private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.loops = [
      startDueLoop({
        name: 'control.deliver-events',
        everyMs: EVERY_MS,
        batch: BATCH,
        logger: this.logger,
        run: (batch) => this.pass(batch),
      }),
      startDueLoop({
        name: 'control.sweep-inboxes',
        everyMs: SWEEP_MS,
        batch: SWEEP_BATCH,
        logger: this.logger,
        run: (batch) => this.waits.sweep(batch),
      }),
    ];
  }

  async onApplicationShutdown(): Promise<void> {
    await Promise.all(this.loops.map((loop) => loop.stop()));
  }

  async accept(messages: readonly BusMessage<EventMessage>[], tx: Tx): Promise<void> {
    const waited = await this.waits.waited(tx, [...new Set(messages.map(({ body }) => body.type))]);
    // Almost always nobody waits: then this is all that an event costs.
    if (waited.length === 0) return;
    const events = messages.flatMap(({ at, body }) => {
      if (!waited.some(({ type }) => eventTypeMatches(type, body.type))) return [];
      const event = flowEventOf(body);
      return event === undefined ? [] : [{ at, event }];
    });
    if (events.length === 0) return;
    if ((await this.waits.put(tx, events, waited)) > 0) tx.afterCommit(() => this.loops[0]?.poke());
  }

  private async pass(batch: number): Promise<number> {
    const due = await this.waits.due(batch);
    const queue = [...due];
    const worker = async (): Promise<void> => {
      for (let one = queue.shift(); one !== undefined; one = queue.shift()) await this.deliver(one);
    };
    await Promise.all(Array.from({ length: Math.min(PARALLEL_MAX, due.length) }, worker));
    return due.length;
  }

  private async deliver({ run_id: run, workflow_id: workflowId }: Due): Promise<void> {
    if (!(await this.waits.claim(TENANT, run, CLAIM_S))) return;
    try {
      const waiting = await this.waits.next(TENANT, run, SIGNAL_EVENTS_MAX);
      const batch = signalBatch(waiting, SIGNAL_CHARS_MAX);
      const there = await this.workflows.signalEvents(workflowId, { events: batch.map((d) => d.body) });
      // Nobody is there any more: the end of the run was or will be noticed by others.
      if (!there) return await this.waits.drop(TENANT, run);
      await this.waits.delivered(
        TENANT,
        run,
        batch.map((d) => d.seq),
      );
      await this.waits.release(TENANT, run);
      if (waiting.length > 0) this.loops[0]?.poke();
    } catch (error) {
      this.logger.warn('events could not be brought to a run; they are tried again', { run, error });
      await this.waits.release(TENANT, run, RETRY_S).catch(() => undefined);
    }
  }
}
