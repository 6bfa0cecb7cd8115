import { CancellationScope, condition, patched } from '@temporalio/workflow';

/**
 * Local activities that are under way side by side. Two that end at nearly the same time come in one activation or in two,
 * and no history says which; in one, what follows each of them would be interleaved, command by command, and a worker that
 * replays the run later would find another order than the history has. So what follows one of several waits until the
 * workflow stands still, and then goes on alone, in the order in which they ended: the same either way.
 */
export class LocalTurns {
  private underWay = 0;
  private readonly waiting: object[] = [];
  private taken = false;

  async run<T>(schedule: () => Promise<T>): Promise<T> {
    this.underWay += 1;
    try {
      return await schedule();
    } finally {
      // One alone, the usual case, needs no turn and pays nothing.
      if (this.underWay > 1 && patched('local-turns')) await this.turn();
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
