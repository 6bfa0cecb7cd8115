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

/** Branches of one `parallel`, by step id, undone side by side. */
export interface UndoGroup {
  path: string;
  branches: Map<string, UndoStack>;
}

/** Compensations of one scope, oldest first. */
export class UndoStack {
  readonly entries: (UndoEntry | UndoGroup)[] = [];
  /** Paths carried from the Temporal run before: a step that runs again registers in the place it had. */
  private carried = false;

  push(entry: UndoEntry): void {
    const at = this.carried ? this.entries.findIndex((old) => !('branches' in old) && old.path === entry.path) : -1;
    if (at < 0) this.entries.push(entry);
    else this.entries[at] = entry;
  }

  /** The group for branches of the step at `path`, which start together. */
  group(path: string): UndoGroup {
    const known = this.carried ? this.entries.find((old) => 'branches' in old && old.path === path) : undefined;
    if (known !== undefined) return known as UndoGroup;
    const group: UndoGroup = { path, branches: new Map() };
    this.entries.push(group);
    return group;
  }

  /** Fills a stack with what the Temporal run before had. */
  restore(entries: Iterable<UndoEntry | UndoGroup>): this {
    this.entries.push(...entries);
    this.carried = true;
    return this;
  }

  /** A scope that ended well hands what it did to the scope around it. */
  mergeInto(outer: UndoStack): void {
    outer.entries.push(...this.entries.splice(0));
  }

  clear(): void {
    this.entries.length = 0;
  }

  get isEmpty(): boolean {
    return this.entries.every((e) => ('branches' in e ? [...e.branches.values()].every((b) => b.isEmpty) : e.dropped));
  }

  /** How many steps it would undo. */
  get size(): number {
    return this.entries.reduce(
      (sum, e) =>
        sum + ('branches' in e ? [...e.branches.values()].reduce((n, b) => n + b.size, 0) : e.dropped ? 0 : 1),
      0,
    );
  }
}

/** The branch of a group that the step `id` undoes. */
export function branchOf(group: UndoGroup, id: string): UndoStack {
  let branch = group.branches.get(id);
  if (branch === undefined) group.branches.set(id, (branch = new UndoStack()));
  return branch;
}
