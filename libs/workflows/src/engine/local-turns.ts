import { CancellationScope, condition, patched } from '@temporalio/workflow';

/**
 * What ends at nearly the same time as a local activity comes to the workflow in one activation with it or in one before, and
 * no history says which: other local activities, and after 80 % of a workflow task's time (8 s, when control is slow to
 * answer) also calls, timers and events, since the task then ends without the activity. In one activation, what follows each
 * of them would be interleaved, command by command, and a worker that replays the run later would find another order than
 * the history has. So what follows a local activity waits until the workflow stands still, and then goes on alone, in the
 * order in which they ended: the same either way. Whatever came with it goes first, as it does when it comes before.
 */
export class LocalTurns {
  private underWay = 0;
  private readonly waiting: object[] = [];
  private taken = false;

  async run<T>(schedule: () => Promise<T>): Promise<T> {
    // Asked before it begins: the marker is a command as well, and afterwards it would have no place of its own.
    const last = patched('local-last');
    this.underWay += 1;
    try {
      return await schedule();
    } finally {
      // Runs of before took a turn only when several were under way, the first of them none at all.
      if (last || (this.underWay > 1 && patched('local-turns'))) await this.turn();
      this.underWay -= 1;
    }
  }

  /** Conditions are looked at when no code of the workflow is left to run; one of them is let through at each look. */
  private async turn(): Promise<void> {
    const mine = {};
    this.waiting.push(mine);
    let asked = false;
    const comes = (): boolean => {
      // The first look is taken at once, while others may still have code to run.
      const first = !asked;
      asked = true;
      if (first || this.taken || this.waiting[0] !== mine) return false;
      this.taken = true;
      return true;
    };
    await CancellationScope.nonCancellable(() => condition(comes));
    this.waiting.shift();
    this.taken = false;
  }
}
