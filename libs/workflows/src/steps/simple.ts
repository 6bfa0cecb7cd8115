/** Verbs without children: set, emit, wait, raise, return. */
import { TEMPORAL_NAMES, durationMs, stepKey } from '@opsloop/contracts';
import type { EmitStep, Json, RaiseStep, ReturnStep, SetStep, Template, WaitStep } from '@opsloop/contracts';
import { toScopeValue } from '@opsloop/rules';
import { scheduleLocalActivity } from '@temporalio/workflow';
import type { EmitRequest } from '../activities.js';
import { scaledMs } from '../engine/time-scale.pure.js';
import { noteDryRun, pretends } from './dry-run.js';
import type { Engine } from '../engine/engine.js';
import { FlowReturn, StepFailure, fail } from '../engine/errors.js';
import { checkSize } from '../engine/size.pure.js';
import { problemOf } from '../engine/problems.pure.js';
import type { Frame, StepHandle, VerbResult } from '../engine/types.js';

/** Longest a flow waits for the outbox before the step fails; one attempt is one HTTP call. */
const EMIT_TOTAL_MS = 600_000;
const EMIT_ATTEMPT_MS = 10_000;

/** `set`: all values are rendered before the first is assigned, so that they see the old ones. */
export async function setStep(engine: Engine, step: SetStep, frame: Frame): Promise<VerbResult> {
  const vars = frame.names['vars'] as Record<string, unknown>;
  const values = Object.entries(step.set).map(([name, template]) => [name, engine.render(template, frame)] as const);
  for (const [name, value] of values) vars[name] = toScopeValue(value);
  return { output: null };
}

export async function emitStep(engine: Engine, step: EmitStep, frame: Frame, handle: StepHandle): Promise<VerbResult> {
  const { context } = engine.facts;
  const path = engine.fullPath(handle.path);
  const subject = step.emit.subject === undefined ? undefined : textOf(engine, step.emit.subject, frame, 'subject');
  const request: EmitRequest = {
    context: {
      run: context.run,
      step: path,
      key: stepKey(context.run, path, engine.steering.epochOf(handle.path)),
      tenant: context.tenant,
      dryRun: context.dryRun ?? false,
    },
    type: step.emit.type,
    ...(subject === undefined ? {} : { subject }),
    ...(step.emit.data === undefined ? {} : { data: engine.render(step.emit.data, frame) }),
    correlationId: context.correlationId,
    hops: context.hops,
  };
  if (request.data !== undefined) checkSize(request.data, 'the data of the event', engine.where(handle.path, step.id));
  if (pretends(engine)) {
    noteDryRun(handle, 'not-sent');
    return { output: null };
  }
  await engine.localBoundary();
  await engine.locals.run(() =>
    scheduleLocalActivity(TEMPORAL_NAMES.emitActivity, [request], {
      startToCloseTimeout: EMIT_ATTEMPT_MS,
      scheduleToCloseTimeout: EMIT_TOTAL_MS,
      retry: { initialInterval: 200, backoffCoefficient: 2, maximumInterval: 10_000 },
    }),
  );
  return { output: null };
}

export async function waitStep(engine: Engine, step: WaitStep, frame: Frame, handle: StepHandle): Promise<VerbResult> {
  const asked =
    step.wait.for === undefined ? untilMs(engine, step.wait.until ?? null, frame) : forMs(engine, step.wait.for, frame);
  const ms = scaledMs(engine.facts.context, asked);
  if (ms > 0) await engine.wait(ms, handle.record.title ?? handle.path, handle.record, handle.path);
  return { output: null };
}

function forMs(engine: Engine, text: string, frame: Frame): number {
  return durationMs(text.includes('${') ? textOf(engine, text, frame, 'wait.for') : text);
}

function untilMs(engine: Engine, template: Template, frame: Frame): number {
  const text = engine.render(template, frame);
  const at = typeof text === 'string' ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at)) throw fail('expression', `wait.until needs an ISO 8601 time, got ${JSON.stringify(text)}`);
  return at - Date.now();
}

export async function raiseStep(
  engine: Engine,
  step: RaiseStep,
  frame: Frame,
  handle: StepHandle,
): Promise<VerbResult> {
  const { type, status, title, detail } = step.raise;
  const text = detail === undefined ? undefined : textOf(engine, detail, frame, 'raise.detail');
  throw new StepFailure(
    problemOf(type, text, {
      ...engine.where(handle.path, step.id),
      ...(status === undefined ? {} : { status }),
      ...(title === undefined ? {} : { title }),
    }),
  );
}

export async function returnStep(engine: Engine, step: ReturnStep, frame: Frame): Promise<VerbResult> {
  throw new FlowReturn(engine.render(step.return, frame));
}

function textOf(engine: Engine, template: Template, frame: Frame, what: string): string {
  const value: Json = engine.render(template, frame);
  return typeof value === 'string' ? value : what === 'raise.detail' ? JSON.stringify(value) : refuse(what, value);
}

function refuse(what: string, value: Json): never {
  throw fail('expression', `${what} needs text, got ${JSON.stringify(value).slice(0, 100)}`);
}
