/** Requests that wait to be stored: senders take turns, so that one that floods delays itself and not the others. */

export interface Waiting {
  tenant: string;
  lane: string;
  events: number;
  bytes: number;
}

/** What one process lets wait. */
export interface LaneBounds {
  events: number;
  bytes: number;
}

interface Lane<W> {
  queue: W[];
  events: number;
  bytes: number;
}

export class WaitingLanes<W extends Waiting> {
  /** In the order of turns. */
  private readonly lanes = new Map<string, Lane<W>>();
  private waitingEvents = 0;
  private waitingBytes = 0;

  constructor(private readonly bounds: LaneBounds) {}

  get events(): number {
    return this.waitingEvents;
  }

  /**
   * False when the sender has to come back later. Below the bounds everybody may wait; above them only senders that
   * have less than their equal share waiting, and above twice the bounds nobody. A request larger than the bounds is
   * let in when nothing waits, else it never could.
   */
  add(one: W): boolean {
    const key = `${one.tenant}\u0000${one.lane}`;
    const lane = this.lanes.get(key);
    if (!this.fits(one, lane)) return false;
    if (lane === undefined) this.lanes.set(key, { queue: [one], events: one.events, bytes: one.bytes });
    else {
      lane.queue.push(one);
      lane.events += one.events;
      lane.bytes += one.bytes;
    }
    this.waitingEvents += one.events;
    this.waitingBytes += one.bytes;
    return true;
  }

  /** The next requests of one tenant, in turns by sender, up to so many events; at least one request, however large. */
  takeGroup(most: number): W[] {
    const group: W[] = [];
    let events = 0;
    let taken = true;
    while (taken && events < most) {
      taken = false;
      for (const [key, lane] of [...this.lanes]) {
        const next = lane.queue[0]!;
        if (group.length > 0 && (next.tenant !== group[0]!.tenant || events + next.events > most)) continue;
        this.takeFrom(key, lane);
        group.push(next);
        events += next.events;
        taken = true;
        if (events >= most) break;
      }
    }
    return group;
  }

  private takeFrom(key: string, lane: Lane<W>): void {
    const one = lane.queue.shift()!;
    lane.events -= one.events;
    lane.bytes -= one.bytes;
    this.waitingEvents -= one.events;
    this.waitingBytes -= one.bytes;
    // Behind the others, so that the next group begins with somebody else.
    this.lanes.delete(key);
    if (lane.queue.length > 0) this.lanes.set(key, lane);
  }

  private fits(one: W, lane: Lane<W> | undefined): boolean {
    const { events, bytes } = this.bounds;
    if (this.waitingEvents === 0) return true;
    const allEvents = this.waitingEvents + one.events;
    const allBytes = this.waitingBytes + one.bytes;
    if (allEvents <= events && allBytes <= bytes) return true;
    if (allEvents > 2 * events || allBytes > 2 * bytes) return false;
    const senders = this.lanes.size + (lane === undefined ? 1 : 0);
    return (lane?.events ?? 0) + one.events <= events / senders && (lane?.bytes ?? 0) + one.bytes <= bytes / senders;
  }
}
