/** Time that passes only when nothing else is left to do. */
export class VirtualClock {
  private readonly heap: Alarm[] = [];
  private order = 0;

  constructor(public now: number) {}

  /** Runs `act` when the time has come; alarms of one moment ring in the order in which they were set. */
  in(ms: number, act: () => void): Alarm {
    const alarm: Alarm = { at: this.now + Math.max(0, ms), order: (this.order += 1), act, off: false };
    this.push(alarm);
    return alarm;
  }

  /** Goes to the next moment at which something is due and does all of it; false when nothing is. */
  advance(): boolean {
    let next = this.pop();
    while (next?.off === true) next = this.pop();
    if (next === undefined) return false;
    this.now = next.at;
    next.act();
    for (let also = this.heap[0]; also !== undefined && (also.off || also.at === this.now); also = this.heap[0]) {
      this.pop();
      if (!also.off) also.act();
    }
    return true;
  }

  /** When something is due next; undefined when nothing is. */
  next(): number | undefined {
    while (this.heap[0]?.off === true) this.pop();
    return this.heap[0]?.at;
  }

  private push(alarm: Alarm): void {
    const { heap } = this;
    let at = heap.push(alarm) - 1;
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (!sooner(alarm, heap[up]!)) break;
      heap[at] = heap[up]!;
      at = up;
    }
    heap[at] = alarm;
  }

  private pop(): Alarm | undefined {
    const { heap } = this;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && sooner(heap[child + 1]!, heap[child]!)) child += 1;
      if (!sooner(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

export interface Alarm {
  readonly at: number;
  readonly order: number;
  readonly act: () => void;
  /** Set to switch it off. */
  off: boolean;
}

function sooner(a: Alarm, b: Alarm): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
