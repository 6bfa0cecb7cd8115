import type { Json } from '@opsloop/contracts';

/** A compensation that is due if its scope fails: registered before the action runs, so that no window stays open. */
export interface UndoEntry {
  /** Full path of the undone step, inside this workflow. */
  path: string;
  title: string;
  /** Reference into the flow's pinned atoms. */
  call: string;
  /** Evaluated when it is needed: a template over the step's result may be given. */
  input: () => Json;
  /** Places of that input that hold secrets. */
  secrets: readonly string[];
  /** Dropped again: the action surely never reached its target. */
  dropped: boolean;
}

/** Branches of one `parallel`, undone side by side. */
export interface UndoGroup {
  branches: UndoStack[];
}

/** Compensations of one scope, oldest first. */
export class UndoStack {
  readonly entries: (UndoEntry | UndoGroup)[] = [];

  push(entry: UndoEntry): void {
    this.entries.push(entry);
  }

  /** A group for branches that start together. */
  group(): UndoGroup {
    const group: UndoGroup = { branches: [] };
    this.entries.push(group);
    return group;
  }

  /** A scope that ended well hands what it did to the scope around it. */
  mergeInto(outer: UndoStack): void {
    outer.entries.push(...this.entries.splice(0));
  }

  clear(): void {
    this.entries.length = 0;
  }

  get isEmpty(): boolean {
    return this.entries.every((e) => ('branches' in e ? e.branches.every((b) => b.isEmpty) : e.dropped));
  }
}
