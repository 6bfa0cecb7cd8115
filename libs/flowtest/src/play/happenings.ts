/** What happens to a run from outside: events, answers of people, acts of operators. */
import { TEMPORAL_NAMES, durationMs, neededOf } from '@opsloop/contracts';
import type { ApprovalReport, Approvers, FlowEvent, Json, StepRecord } from '@opsloop/contracts';
import type { OpenRun } from '../virtual-run.js';
import type { FlowTest, TestAct, TestApproval, TestEvent, When } from './flowtest.js';
import { namesPath } from './paths.pure.js';

/** People take a moment; the step has told that it asks before anybody can answer. */
const ANSWER_MS = 1_000;

interface Pending {
  when: When;
  act: () => void;
  done: boolean;
}

export class Happenings {
  /** What was refused: an answer of the wrong person, an act that does not fit. */
  readonly refused: string[] = [];
  /** Approvals that nobody in the test has answered. */
  readonly unanswered: { path: string; needed: number; approvers: Approvers }[] = [];
  private pending: Pending[] = [];
  private sent = 0;
  private run: OpenRun | undefined;

  constructor(private readonly test: FlowTest) {}

  /** Called before the run begins. */
  begin(run: OpenRun): void {
    this.run = run;
    this.pending = this.plan(run);
  }

  /** Called after each activation. */
  look(run: OpenRun): void {
    if (this.pending.length === 0) return;
    const steps = run.steps();
    for (const entry of this.pending) {
      if (entry.done || !hasCome(entry.when, steps)) continue;
      entry.done = true;
      run.world.clock.in(entry.when.delay === undefined ? 0 : durationMs(entry.when.delay), entry.act);
    }
    this.pending = this.pending.filter((entry) => !entry.done);
  }

  /** A flow asks people. */
  asked(report: ApprovalReport): void {
    if (report.change !== 'opened') return;
    const answers = (this.test.approvals ?? []).filter((one) => namesPath(one.step, report.path) !== undefined);
    if (answers.length === 0) {
      this.unanswered.push({ path: report.path, needed: neededOf(report.approvers), approvers: report.approvers });
      return;
    }
    for (const [i, answer] of answers.entries()) {
      const after = answer.delay === undefined ? ANSWER_MS * (i + 1) : durationMs(answer.delay);
      this.run?.world.clock.in(after, () => this.answer(report, answer));
    }
  }

  /** What never came about: its step was not reached. */
  missed(): string[] {
    return this.pending.map(({ when }) => JSON.stringify(when));
  }

  private answer(report: ApprovalReport & { change: 'opened' }, given: TestApproval): void {
    const { answer, by, reason, form } = given;
    const groups = given.groups ?? report.approvers.groups ?? [];
    const request = {
      path: report.path,
      answer,
      person: { kind: 'user', name: by, groups },
      ...(reason === undefined ? {} : { reason }),
      ...(form === undefined ? {} : { form }),
    };
    this.run?.world.update(report.workflowId, TEMPORAL_NAMES.approvalUpdate, [request], ({ rejected }) => {
      if (rejected !== undefined) this.refused.push(`the answer of ${by} to ${report.path} was refused: ${rejected}`);
    });
  }

  private plan(run: OpenRun): Pending[] {
    const pending: Pending[] = [];
    const add = (when: When, act: () => void): void => {
      if (when.after !== undefined || when.during !== undefined) pending.push({ when, act, done: false });
      else run.world.clock.in(when.at === undefined ? 0 : durationMs(when.at), act);
    };
    for (const event of this.test.events ?? []) add(event, () => this.send(run, event));
    for (const act of this.test.operator ?? []) add(act, () => this.operate(run, act));
    return pending;
  }

  private send(run: OpenRun, { event }: TestEvent): void {
    const id = `test-${(this.sent += 1)}`;
    const whole: FlowEvent = {
      eventId: id,
      id,
      source: event.source ?? 'test',
      type: event.type,
      ...(event.subject === undefined ? {} : { subject: event.subject }),
      time: new Date(run.world.clock.now).toISOString(),
      data: event.data ?? null,
    };
    if (!run.world.signal(run.workflowId, TEMPORAL_NAMES.eventsSignal, { events: [whole] }))
      this.refused.push(`the event ${event.type} came after the end of the run`);
  }

  private operate(run: OpenRun, given: TestAct): void {
    const { act, by = 'operator', reason = 'test', at: _at, after: _a, during: _d, delay: _delay, ...rest } = given;
    if (act === 'cancel') {
      if (!run.world.cancel(run.workflowId)) this.refused.push('the cancel came after the end of the run');
      return;
    }
    const id = `act-${(this.sent += 1)}`;
    const request: Record<string, Json | undefined> = {
      ...rest,
      act,
      ...(act === 'pause' ? { scope: given.scope ?? 'flow' } : {}),
      id,
      by,
      reason,
      at: new Date(run.world.clock.now).toISOString(),
    };
    run.world.update(run.workflowId, TEMPORAL_NAMES.steerUpdate, [request], ({ rejected }) => {
      if (rejected !== undefined) this.refused.push(`${act} was refused: ${rejected}`);
    });
  }
}

function hasCome({ after, during }: When, steps: readonly StepRecord[]): boolean {
  const pattern = after ?? during ?? '';
  return steps.some(
    (step) =>
      namesPath(pattern, step.path) !== undefined &&
      (after === undefined ? step.endedAt === undefined : step.endedAt !== undefined),
  );
}
