import type { RunView, StepRecord } from '@opsloop/contracts';
import type { Output } from './output.js';

/** Lines redrawn at most; a run of 500 targets would scroll the screen away. */
const LINES_MAX = 30;
const MARKS: Readonly<Record<string, string>> = {
  running: '▸',
  waiting: '…',
  paused: '‖',
  succeeded: '✓',
  failed: '✗',
  skipped: '-',
  cancelled: '×',
};

/** Live progress: redrawn in place on a terminal, a line per change elsewhere, nothing with `--json`. */
export class StepBoard {
  private drawn = 0;
  private readonly said = new Map<string, string>();

  constructor(private readonly out: Output) {}

  show(run: RunView): void {
    if (this.out.json) return;
    const steps = run.steps ?? [];
    if (this.out.streams.isTTY) this.redraw(run, steps);
    else for (const step of steps) this.sayChange(step);
  }

  end(): void {
    this.drawn = 0;
  }

  private redraw(run: RunView, steps: readonly StepRecord[]): void {
    // Up over what was drawn, then clear to the end of the screen.
    if (this.drawn > 0) this.out.streams.out(`\u001b[${this.drawn}A\u001b[J`);
    const lines = steps.slice(-LINES_MAX).map((step) => `  ${this.lineOf(step)}`);
    if (lines.length === 0) lines.push(`  ${this.out.status(run.status)} …`);
    this.out.streams.out(`${lines.join('\n')}\n`);
    this.drawn = lines.length;
  }

  private sayChange(step: StepRecord): void {
    const state = `${step.status}#${step.attempts}`;
    if (this.said.get(step.path) === state) return;
    this.said.set(step.path, state);
    this.out.line(`  ${this.lineOf(step)}`);
  }

  private lineOf(step: StepRecord): string {
    const attempt = step.attempts > 1 ? ` (attempt ${step.attempts})` : '';
    const problem = step.problem === undefined ? '' : `: ${step.problem.detail ?? step.problem.title}`;
    return `${MARKS[step.status] ?? ' '} ${step.path}  ${step.title ?? step.atom ?? step.verb}  ${this.out.status(step.status)}${attempt}${problem}`;
  }
}
