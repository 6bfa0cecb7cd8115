/** `approval`: asks people, and goes on, fails or is withdrawn by what they answer. */
import { TEMPORAL_NAMES, durationMs } from '@opsloop/contracts';
import type { ApprovalReport, ApprovalStep, ErrorCode, Json, OnTimeout } from '@opsloop/contracts';
import {
  CancellationScope,
  CancelledFailure,
  patched,
  scheduleLocalActivity,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import type { ApprovalRequest } from '../activities.js';
import type { OpenApproval } from '../engine/approvals.js';
import type { Engine } from '../engine/engine.js';
import { ContinueLater, StepFailure } from '../engine/errors.js';
import { failureOf } from '../engine/failures.js';
import { problemOf } from '../engine/problems.pure.js';
import { checkSize } from '../engine/size.pure.js';
import type { Frame, StepHandle, VerbResult } from '../engine/types.js';
import { noteDryRun } from './dry-run.js';
import { beginAnew } from './wait-for-event.js';

/** Nothing waits for ever: after a day the question is asked anew, or was none. */
const TIMEOUT_DEFAULT = '24h';
/** One attempt is one HTTP call to control; the whole is patient, since control may be restarting. */
const REPORT_ATTEMPT_MS = 10_000;
const REPORT_TOTAL_MS = 600_000;
/** A title stands in lists and summaries. */
const TITLE_CHARS_MAX = 500;

export async function approvalStep(
  engine: Engine,
  step: ApprovalStep,
  frame: Frame,
  handle: StepHandle,
): Promise<VerbResult> {
  // Nobody is asked about what will not happen.
  if (engine.facts.context.dryRun === true) {
    noteDryRun(handle, 'answered');
    return { output: { answer: 'approve', by: [], answers: [], dryRun: true } };
  }
  const path = engine.fullPath(handle.path);
  const timeoutMs = durationMs(step.approval.timeout ?? TIMEOUT_DEFAULT);
  beginAnew(engine, handle.path, timeoutMs);
  let opened: ApprovalReport | undefined;
  const approval = engine.approvals.begin(path, () => {
    const made = begin(engine, step, timeoutMs);
    opened = openingOf(engine, step, made, frame, handle);
    return made;
  });
  let leaving = false;
  handle.record.status = 'waiting';
  try {
    if (opened !== undefined) await report(engine, opened);
    await decided(engine, step, approval, timeoutMs, handle);
  } catch (err) {
    leaving = err instanceof ContinueLater;
    if (!leaving) approval.outcome ??= { status: 'cancelled' };
    throw err;
  } finally {
    if (handle.record.status === 'waiting') handle.record.status = 'running';
    if (!leaving) await close(engine, approval, handle.path);
  }
  return resultOf(engine, step, approval, handle);
}

function begin(engine: Engine, step: ApprovalStep, timeoutMs: number): OpenApproval {
  const { approvers } = step.approval;
  const expiresAt = new Date(Date.now() + timeoutMs).toISOString();
  return { approvers, openedAt: engine.now(), expiresAt, answers: [] };
}

function openingOf(
  engine: Engine,
  step: ApprovalStep,
  { openedAt, expiresAt }: OpenApproval,
  frame: Frame,
  handle: StepHandle,
): ApprovalReport {
  const { title, details, approvers, form } = step.approval;
  const text = title.includes('${') ? engine.render(title, frame) : title;
  const shown = details === undefined ? undefined : engine.render(details, frame);
  if (shown !== undefined) checkSize(shown, 'the details of the approval', engine.where(handle.path, step.id));
  return {
    change: 'opened',
    path: engine.fullPath(handle.path),
    workflowId: workflowInfo().workflowId,
    flow: engine.facts.context.flow,
    title: (typeof text === 'string' ? text : JSON.stringify(text)).slice(0, TITLE_CHARS_MAX),
    ...(shown === undefined ? {} : { details: shown }),
    approvers,
    ...(form === undefined ? {} : { form }),
    onTimeout: onTimeoutOf(step),
    openedAt,
    expiresAt,
  };
}

const onTimeoutOf = (step: ApprovalStep): OnTimeout => step.approval.onTimeout ?? 'fail';

/** Waits for the answers; when nobody decides in time, the flow's own word on that counts. */
async function decided(
  engine: Engine,
  step: ApprovalStep,
  approval: OpenApproval,
  timeoutMs: number,
  handle: StepHandle,
): Promise<void> {
  const wait = (): Promise<void> =>
    engine.waitFor(
      timeoutMs,
      handle.record.title ?? handle.path,
      handle.record,
      handle.path,
      () => approval.outcome !== undefined,
    );
  const onTimeout = onTimeoutOf(step);
  if (approval.outcome === undefined) await wait();
  if (approval.outcome === undefined && onTimeout === 'escalate' && approval.escalated === undefined) {
    approval.escalated = true;
    approval.expiresAt = new Date(Date.now() + timeoutMs).toISOString();
    await report(engine, { change: 'escalated', ...placeOf(engine, handle.path), expiresAt: approval.expiresAt });
    await wait();
  }
  if (approval.outcome !== undefined) return keepAnswer();
  const reason = `nobody decided by ${approval.expiresAt}`;
  if (onTimeout === 'approve') approval.outcome = { status: 'approved', reason };
  else if (onTimeout === 'reject') approval.outcome = { status: 'rejected', reason };
  else approval.outcome = { status: 'timed-out', reason };
}

/**
 * Ends the workflow task, so that the history holds the answer before anybody hears of the end: an answer is part of
 * the task that it came with, and one that is lost with its worker after the report would leave the run asking a question
 * that control knows as closed.
 */
async function keepAnswer(): Promise<void> {
  if (patched('keep-answer')) await sleep(1);
}

function resultOf(engine: Engine, step: ApprovalStep, approval: OpenApproval, handle: StepHandle): VerbResult {
  const { status, reason } = approval.outcome!;
  const { answers } = approval;
  const where = engine.where(handle.path, step.id);
  const failed = (code: ErrorCode, detail: string): StepFailure =>
    new StepFailure(
      problemOf(code, detail, { ...where, answers: answers.slice(-5).map(({ form: _form, ...answer }) => answer) }),
    );
  if (status === 'rejected') throw failed('approval-rejected', reason ?? 'rejected');
  if (status === 'timed-out') throw failed('approval-timeout', reason ?? 'nobody decided in time');
  if (status === 'withdrawn') {
    // Not a failure: there is nothing left to do, so the run ends as a cancelled one does, with its clean-up.
    const detail = `the approval was withdrawn${reason === undefined ? '' : `: ${reason}`}`;
    const problem = problemOf('cancelled', detail, { ...where });
    handle.record.problem = problem;
    engine.suppressed.unshift(problem);
    throw new CancelledFailure(detail);
  }
  const last = answers.findLast((answer) => answer.form !== undefined);
  return {
    output: {
      answer: 'approve',
      by: answers.map((answer) => answer.by),
      answers: answers as unknown as Json,
      form: last?.form ?? null,
      ...(approval.escalated === undefined ? {} : { escalated: true }),
      ...(reason === undefined ? {} : { reason }),
    },
  };
}

/** Also a cancelled run says that nobody is asked any more; control closes what it does not hear of with the run. */
async function close(engine: Engine, approval: OpenApproval, path: string): Promise<void> {
  const { status, reason } = approval.outcome!;
  const answered = approval.answers.map((answer) => answer.by);
  const at = engine.now();
  engine.approvals.end(engine.fullPath(path));
  try {
    await CancellationScope.nonCancellable(() =>
      report(engine, {
        change: 'closed',
        ...placeOf(engine, path),
        status,
        at,
        ...(reason === undefined ? {} : { reason }),
        ...(answered.length === 0 ? {} : { answered }),
      }),
    );
  } catch (err) {
    if (failureOf(err, engine.where(path, 'approval')) === undefined) throw err;
  }
}

function placeOf(engine: Engine, path: string): { path: string; workflowId: string } {
  return { path: engine.fullPath(path), workflowId: workflowInfo().workflowId };
}

async function report(engine: Engine, change: ApprovalReport): Promise<void> {
  const { run, tenant, correlationId, hops } = engine.facts.context;
  const request: ApprovalRequest = { run, tenant, correlationId, hops, report: change };
  await engine.locals.run(() =>
    scheduleLocalActivity<void>(TEMPORAL_NAMES.approvalActivity, [request], {
      startToCloseTimeout: REPORT_ATTEMPT_MS,
      scheduleToCloseTimeout: REPORT_TOTAL_MS,
      retry: { initialInterval: 200, backoffCoefficient: 2, maximumInterval: 10_000 },
    }),
  );
}
