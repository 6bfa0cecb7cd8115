import { Injectable } from '@nestjs/common';
import { OpsError } from '@opsloop/contracts';
import type { AcceptedEvent } from '@opsloop/contracts';
import { Failpoint } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import type { Tx } from '@opsloop/postgres';
import { EventRepository, messageKey } from './event.repository.js';
import type { PollMemory } from './message.pure.js';
import { planGroup } from './plan-group.pure.js';
import type { AcceptRequest, GroupPlan } from './plan-group.pure.js';
import { WaitingLanes } from './waiting-lanes.pure.js';

/** Events of one commit; 64 inserts take about 3 ms, and at that size fsync is no longer what costs. */
const GROUP_EVENTS = 64;
/** Waiting events of one process: at 64 per 5 ms the last of 2,048 waits 160 ms; beyond that the sender had better come back. */
const QUEUE_EVENTS_MAX = 2_048;
/** Bytes of waiting events: 2,048 events of 256 KB would take half a gigabyte. */
const QUEUE_BYTES_MAX = 64 * 1024 * 1024;
/** Another process took a (source, id) between our look and our insert: look again. More often means a bug. */
const RACES_MAX = 5;

/** Groups that ask what is known before they insert, after one that met a repeat: senders repeat in bursts. */
const ASK_FIRST = 16;

interface Waiting {
  tenant: string;
  lane: string;
  request: AcceptRequest;
  events: number;
  bytes: number;
  resolve: (accepted: AcceptedEvent[]) => void;
  reject: (error: unknown) => void;
}

class LostRace extends Error {}

/**
 * Stores events with their bus messages before anybody is told that they were accepted. Requests of one moment share
 * one transaction, and one transaction is in flight per process (group commit).
 */
@Injectable()
export class AcceptService {
  private readonly waiting = new WaitingLanes<Waiting>({ events: QUEUE_EVENTS_MAX, bytes: QUEUE_BYTES_MAX });
  private collecting: NodeJS.Immediate | undefined;
  private flushing: Promise<void> | undefined;
  private askFirst = 0;

  constructor(
    private readonly database: Database,
    private readonly events: EventRepository,
    private readonly failpoint: Failpoint,
  ) {}

  /** Resolves when the events are durable; rejects with nothing of this request stored. */
  accept(request: AcceptRequest): Promise<AcceptedEvent[]> {
    if (request.items.length === 0) return Promise.resolve([]);
    const bytes = request.items.reduce((sum, item) => sum + item.bytes, request.raw?.body.length ?? 0);
    const { tenant, lane = '' } = request;
    const events = request.items.length;
    return new Promise((resolve, reject) => {
      if (this.waiting.add({ tenant, lane, request, events, bytes, resolve, reject })) return this.schedule();
      reject(
        new OpsError('overload', 'too many events wait to be stored; nothing of this request was', {
          retryAfterSec: 1,
        }),
      );
    });
  }

  private schedule(): void {
    if (this.flushing !== undefined) return;
    if (this.waiting.events >= GROUP_EVENTS) this.flush();
    // When nothing is in flight a lone request does not wait: it takes along what has arrived in the same moment, and
    // whatever comes while its commit is on the way (2–4 ms) makes the next group.
    else this.collecting ??= setImmediate(() => this.flush());
  }

  private flush(): void {
    clearImmediate(this.collecting);
    this.collecting = undefined;
    if (this.flushing !== undefined || this.waiting.events === 0) return;
    this.flushing = this.store(this.waiting.takeGroup(GROUP_EVENTS)).finally(() => {
      this.flushing = undefined;
      // What came while the last group was on its way has waited long enough.
      if (this.waiting.events > 0) this.flush();
    });
  }

  private async store(group: Waiting[]): Promise<void> {
    try {
      const outcomes = await this.storeTogether(group.map((one) => one.request));
      this.failpoint.pass('ingest.after-commit');
      group.forEach((one, index) => settle(one, outcomes[index]!));
    } catch (error) {
      if (group.length === 1 || (error instanceof OpsError && error.code === 'unavailable')) {
        for (const one of group) one.reject(error);
        return;
      }
      // One request that PostgreSQL refuses must not take its neighbours with it.
      for (const one of group) await this.store([one]);
    }
  }

  /** Most groups are new to the last event; one that is not costs a statement more, and the next few ask first. */
  private async storeTogether(requests: AcceptRequest[]): Promise<GroupPlan['outcomes']> {
    if (this.askFirst > 0) this.askFirst -= 1;
    else if (requests.every((r) => r.items.every((item) => item.remember === undefined))) {
      const plan = planGroup(requests, new Map());
      if (plan.inserts.length === 0) return plan.outcomes;
      if (await this.events.insertNew(this.database, requests[0]!.tenant, requests, plan.inserts)) return plan.outcomes;
      this.askFirst = ASK_FIRST;
    }
    return this.storeKnowing(requests);
  }

  private async storeKnowing(requests: AcceptRequest[]): Promise<GroupPlan['outcomes']> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.database.inTransaction(requests[0]!.tenant, (tx) => this.storeIn(tx, requests));
      } catch (error) {
        if (!(error instanceof LostRace) || attempt === RACES_MAX) throw error;
      }
    }
  }

  private async storeIn(tx: Tx, requests: AcceptRequest[]): Promise<GroupPlan['outcomes']> {
    const plan = planGroup(requests, await this.events.known(tx, requests));
    if (plan.inserts.length === 0) return plan.outcomes;
    if (!(await this.events.insert(tx, requests, plan.inserts))) throw new LostRace();
    const memories: PollMemory[] = [];
    for (const { item } of plan.inserts) {
      tx.publish('events', { id: item.message.eventId, key: messageKey(item.message), body: item.message });
      if (item.remember !== undefined) memories.push(item.remember);
    }
    this.events.remember(tx, memories);
    return plan.outcomes;
  }
}

function settle(waiting: Waiting, outcome: GroupPlan['outcomes'][number]): void {
  if ('error' in outcome) waiting.reject(outcome.error);
  else waiting.resolve(outcome.accepted);
}
