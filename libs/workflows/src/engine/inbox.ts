/**
 * Events on their way to the steps that wait for them, at any depth. The root of a run gets all of them and keeps what
 * nobody waits for yet; sub-flows tell the root what they wait for and give back what they did not take. Each event goes
 * to one `waitForEvent`.
 */
import { TEMPORAL_NAMES, workflowIdOf } from '@opsloop/contracts';
import type { EventsSignal, FlowEvent } from '@opsloop/contracts';
import {
  CancellationScope,
  condition,
  getExternalWorkflowHandle,
  patched,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import { Mailbox } from './mailbox.pure.js';
import type { CarriedMailbox, Held, Offer, Subscription } from './mailbox.pure.js';
import type { RunFacts } from './types.js';

/** Waits of sub-flows on older roots would be commands that their histories do not have. */
const PATCH = 'wake-on';

/**
 * Waits that find their event here already cost no command, so thousands of them would be one workflow task, which must
 * end within 10 s: it is cut after so many, some 0.3 s of a busy worker.
 */
const TAKES_PER_TASK = 200;

/** What a sub-flow says to the root of its run. */
export type InboxSignal =
  | { say: 'wait'; sub: Subscription }
  /** The wait is over; `back` was offered and is free again. */
  | { say: 'over'; id: string; back: Held[] }
  /** The wait goes on, but not with this event. */
  | { say: 'pass'; id: string; entry: number; back: Held };

export interface OfferSignal {
  sub: string;
  entry: number;
  held: Held;
  wake?: true;
}

/** A step that waits. */
export interface Waiter extends Omit<Subscription, 'at'> {
  /** Whether the event is one that the entry wants; called once per event and entry. */
  accept: (entry: number, event: FlowEvent) => boolean;
}

export interface Wait {
  /** Ends the wait, with all it wanted or without; events in `back` are free for others again. */
  end(complete: boolean, back?: Held[]): void;
  /** Why no event can come any more. */
  readonly broken: string | undefined;
}

export interface CarriedInbox {
  mailbox: CarriedMailbox;
  /** Of a sub-flow: waits that the root knows of. */
  waits: string[];
  /** Offers that came before their wait stood again. */
  early: OfferSignal[];
}

interface Local {
  waiter: Waiter;
  /** What it took, so that it can be given back. */
  taken: (held: Held, entry: number) => void;
  broken?: string;
}

export class Inbox {
  private readonly mailbox = new Mailbox();
  private readonly local = new Map<string, Local>();
  private readonly root: string | undefined;
  /** Waits of the Temporal run before, which come again. */
  private expected = new Set<string>();
  private early: OfferSignal[] = [];
  private outgoing = 0;
  private last: Promise<void> = Promise.resolve();
  private task = { length: -1, takes: 0 };

  /** @param onDropped Told when events went because too many were kept. */
  constructor(
    facts: RunFacts,
    private readonly onDropped: (count: number) => void,
  ) {
    const { parentPath, within, flow, run } = facts.context;
    const rootId = workflowIdOf(within?.[0] ?? flow, run);
    this.root =
      (parentPath === undefined && facts.isolated !== true) || workflowInfo().workflowId === rootId
        ? undefined
        : rootId;
  }

  // ---------------------------------------------------------------- signals

  onEvents({ events }: EventsSignal): void {
    const before = this.mailbox.dropped;
    for (const event of events) this.handle(this.mailbox.add(event));
    if (this.mailbox.dropped > before) this.onDropped(this.mailbox.dropped);
  }

  /** A sub-flow speaks. */
  onInbox(signal: InboxSignal): void {
    if (signal.say === 'wait') this.handle(this.mailbox.subscribe(signal.sub));
    else if (signal.say === 'pass') this.handle(this.mailbox.giveBack(signal.id, signal.back, signal.entry));
    else {
      this.mailbox.drop(signal.id);
      for (const held of signal.back) this.handle(this.mailbox.giveBack(signal.id, held));
    }
  }

  /** The root has an event for a wait of this sub-flow. */
  onOffer(offer: OfferSignal): void {
    const local = this.local.get(offer.sub);
    if (local !== undefined) this.hand(local, offer);
    else if (this.expected.has(offer.sub)) this.early.push(offer);
    else if (offer.wake !== true) this.tell({ say: 'over', id: offer.sub, back: [offer.held] });
  }

  // ---------------------------------------------------------------- waits

  wait(waiter: Waiter, taken: Local['taken']): Wait {
    const local: Local = { waiter, taken };
    this.local.set(waiter.id, local);
    const { accept: _accept, ...sub } = waiter;
    const { id, mode } = sub;
    if (this.root === undefined) this.handle(this.mailbox.subscribe(sub));
    else {
      const early = this.early.filter((offer) => offer.sub === id);
      this.early = this.early.filter((offer) => offer.sub !== id);
      for (const offer of early) this.hand(local, offer);
      // The root of before still knows it; what it offered meanwhile has just been handed over.
      if (!this.expected.delete(id) && this.mayTell(mode)) {
        const at = workflowInfo().workflowId;
        this.tell({ say: 'wait', sub: { ...sub, at } }, (why) => (local.broken = why));
      }
    }
    return {
      end: (complete, back = []) => this.over(local, complete, back),
      get broken() {
        return local.broken;
      },
    };
  }

  /** After a wait that did not have to wait: a moment for the server, when there were many. */
  breath(): Promise<void> | undefined {
    const length = workflowInfo().historyLength;
    if (length !== this.task.length) this.task = { length, takes: 0 };
    this.task.takes += 1;
    return this.task.takes >= TAKES_PER_TASK ? sleep(1) : undefined;
  }

  private over({ waiter }: Local, complete: boolean, back: Held[]): void {
    const { id, mode, conditional } = waiter;
    if (!this.local.delete(id)) return;
    if (this.root === undefined) {
      this.mailbox.drop(id);
      for (const held of back) this.handle(this.mailbox.giveBack(id, held));
    } else if ((!complete || conditional) && this.mayTell(mode)) this.tell({ say: 'over', id, back });
  }

  private mayTell(mode: Subscription['mode']): boolean {
    return mode === 'take' || patched(PATCH);
  }

  /** Hands out what the mailbox decided; what is not wanted goes back and may be somebody else's. */
  private handle(offers: Offer[]): void {
    const queue = [...offers];
    for (let offer = queue.shift(); offer !== undefined; offer = queue.shift()) {
      const { sub, entry, held } = offer;
      const wake = sub.mode === 'wake' ? ({ wake: true } as const) : {};
      if (sub.at !== undefined) this.send(sub.at, { sub: sub.id, entry, held, ...wake });
      else {
        const local = this.local.get(sub.id);
        if (local === undefined) continue;
        if (local.waiter.accept(entry, held.event)) local.taken(held, entry);
        else if (sub.mode === 'take') queue.push(...this.mailbox.giveBack(sub.id, held, entry));
      }
    }
  }

  private hand(local: Local, { sub, entry, held, wake }: OfferSignal): void {
    if (local.waiter.accept(entry, held.event)) local.taken(held, entry);
    else if (wake !== true) this.tell({ say: 'pass', id: sub, entry, back: held });
  }

  // ---------------------------------------------------------------- between workflows

  /** To a sub-flow. One that has ended needs nothing: the event is free again. */
  private send(workflowId: string, offer: OfferSignal): void {
    void signalOther(workflowId, TEMPORAL_NAMES.offerSignal, offer).catch(() => {
      this.mailbox.drop(offer.sub);
      if (offer.wake !== true) this.handle(this.mailbox.giveBack(offer.sub, offer.held));
    });
  }

  /** To the root, one after the other: what is over must not arrive before it began. */
  private tell(signal: InboxSignal, failed?: (why: string) => void): void {
    this.outgoing += 1;
    const send = (): Promise<void> =>
      signalOther(this.root!, TEMPORAL_NAMES.inboxSignal, signal)
        .catch(() => failed?.('the run that this flow belonged to has ended, and events come to runs'))
        .finally(() => (this.outgoing -= 1))
        .then(() => undefined);
    this.last = this.outgoing === 1 ? send() : this.last.then(send);
  }

  /** What this sub-flow said has arrived: before it ends or continues as new. No command, and nothing when all is said. */
  async settled(): Promise<void> {
    if (this.outgoing > 0) await CancellationScope.nonCancellable(() => condition(() => this.outgoing === 0));
  }

  // ---------------------------------------------------------------- continue as new

  /** More events are kept than can travel: leaving can wait until some of them are taken. */
  get isHeavy(): boolean {
    return this.mailbox.isHeavy;
  }

  carry(): CarriedInbox | undefined {
    const waits = this.root === undefined ? [] : [...this.local.keys(), ...this.expected];
    if (this.mailbox.isEmpty && waits.length === 0 && this.early.length === 0) return undefined;
    return { mailbox: this.mailbox.carry(), waits, early: this.early };
  }

  restore(carried: CarriedInbox | undefined): void {
    if (carried === undefined) return;
    this.mailbox.restore(carried.mailbox);
    this.expected = new Set(carried.waits);
    this.early.unshift(...carried.early);
  }
}

/** Also a cancelled run has things to say. */
function signalOther(workflowId: string, name: string, payload: unknown): Promise<void> {
  return CancellationScope.nonCancellable(() => getExternalWorkflowHandle(workflowId).signal(name, payload));
}
