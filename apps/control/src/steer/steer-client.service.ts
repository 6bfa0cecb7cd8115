import { Injectable } from '@nestjs/common';
import {
  type ErrorCode,
  isErrorCode,
  type JsonObject,
  OpsError,
  type SteerAnswer,
  type SteerRequest,
  TEMPORAL_NAMES,
} from '@opsloop/contracts';
import { TemporalConnection } from '@opsloop/temporal';
import { WorkflowNotFoundError, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';

/** An act takes one workflow task, some 10 ms; a run without a worker answers never. */
const STEER_DEADLINE_MS = 5_000;
/** A run that goes on in a new Temporal run at this moment refuses for an instant. */
const TRIES = 3;
const TRY_AGAIN_MS = 200;
/** Replaying a history of 4,096 events takes about a second. */
const JOURNAL_DEADLINE_MS = 10_000;
const NOT_FOUND = 5;

/** What control tells a running workflow, and reads of a closed one. */
@Injectable()
export class SteerClient {
  constructor(private readonly temporal: TemporalConnection) {}

  /** Throws what the run refused, `run-closed` when it has ended, `unavailable` when nobody answers. */
  async steer(workflowId: string, request: SteerRequest): Promise<SteerAnswer> {
    for (let n = 1; ; n += 1) {
      try {
        return await this.once(workflowId, request);
      } catch (error) {
        const told = refusalOf(error);
        if (told !== undefined) throw told;
        if (isNotFound(error)) throw new OpsError('run-closed', 'The run has already ended');
        if (n >= TRIES)
          throw new OpsError(
            'unavailable',
            'The run did not answer in time, so whether it has heard is unknown: ask again, a repeat is harmless',
            { cause: error, retryAfterSec: 5 },
          );
        await new Promise((done) => setTimeout(done, TRY_AGAIN_MS));
      }
    }
  }

  private once(workflowId: string, request: SteerRequest): Promise<SteerAnswer> {
    const { client } = this.temporal;
    return client.withDeadline(Date.now() + STEER_DEADLINE_MS, () =>
      client.workflow
        .getHandle(workflowId)
        .executeUpdate<SteerAnswer, [SteerRequest]>(TEMPORAL_NAMES.steerUpdate, { args: [request] }),
    );
  }

  /** What a closed workflow knew at its end; undefined when Temporal has it no more, or nobody can replay it. */
  async journal(workflowId: string): Promise<JsonObject | undefined> {
    const { client } = this.temporal;
    try {
      return await client.withDeadline(Date.now() + JOURNAL_DEADLINE_MS, () =>
        client.workflow.getHandle(workflowId).query<JsonObject>(TEMPORAL_NAMES.journalQuery),
      );
    } catch {
      return undefined;
    }
  }
}

/** What the workflow itself said no to. */
function refusalOf(error: unknown): OpsError | undefined {
  if (!(error instanceof WorkflowUpdateFailedError) || !(error.cause instanceof ApplicationFailure)) return undefined;
  const { type, message, details } = error.cause;
  const code: ErrorCode = type != null && isErrorCode(type) ? type : 'conflict';
  const errors = (details?.[0] as { errors?: { pointer: string; message: string }[] } | undefined)?.errors;
  return new OpsError(code, message, errors === undefined ? {} : { errors });
}

function isNotFound(error: unknown): boolean {
  if (error instanceof WorkflowNotFoundError) return true;
  for (let e: unknown = error, depth = 0; e instanceof Error && depth < 5; e = e.cause, depth += 1)
    if ((e as { code?: unknown }).code === NOT_FOUND) return true;
  return false;
}
