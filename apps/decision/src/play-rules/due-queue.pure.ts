/** What is due when, soonest first; of two for one moment the one that was noted first. A binary heap. */
export interface Due<T> {
  at: number;
  item: T;
}

interface Noted<T> extends Due<T> {
  order: number;
}

export class DueQueue<T> {
  private readonly heap: Noted<T>[] = [];
  private noted = 0;

  /** `stands`: whether what was noted is still so. Others are dropped when their turn comes, not looked for. */
  constructor(private readonly stands: (due: Due<T>) => boolean) {}

  note(at: number | undefined, item: T): void {
    if (at !== undefined) this.push({ at, item, order: (this.noted += 1) });
  }

  /** The earliest moment up to `to` at which something is due. */
  next(to: number): number | undefined {
    for (let top = this.heap[0]; top !== undefined && top.at <= to; top = this.heap[0]) {
      if (this.stands(top)) return top.at;
      this.pop();
    }
    return undefined;
  }

  /** All that is due up to then, in order. It stays noted: whoever deals with it changes it. */
  upTo(to: number): T[] {
    const found: Noted<T>[] = [];
    while (this.next(to) !== undefined) found.push(this.pop());
    for (const one of found) this.push(one);
    return found.map(({ item }) => item);
  }

  private push(one: Noted<T>): void {
    const { heap } = this;
    let at = heap.push(one) - 1;
    for (let up = (at - 1) >> 1; at > 0 && before(one, heap[up]!); up = (at - 1) >> 1) {
      heap[at] = heap[up]!;
      heap[(at = up)] = one;
    }
  }

  private pop(): Noted<T> {
    const { heap } = this;
    const first = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return first;
    let at = 0;
    heap[at] = last;
    for (let down = 1; down < heap.length; down = 2 * at + 1) {
      if (down + 1 < heap.length && before(heap[down + 1]!, heap[down]!)) down += 1;
      if (before(last, heap[down]!)) break;
      heap[at] = heap[down]!;
      heap[(at = down)] = last;
    }
    return first;
  }
}

function before(a: Noted<unknown>, b: Noted<unknown>): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
