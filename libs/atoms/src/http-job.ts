import { AtomError, OpsError, type AtomCall, type Json, type JobHttpCall } from '@opsloop/contracts';
import { evaluateCondition, renderTemplate, toScopeValue, type Scope } from '@opsloop/rules';
import { NotYet, type Progress } from './job.js';
import type { TargetAnswer } from './http-call.js';

type JobManifest = NonNullable<NonNullable<AtomCall['atom']>['job']>;

/** One HTTP call of a job, as the executor makes it. */
export interface JobRequest {
  spec: JobHttpCall;
  /** Where the call stands in the manifest, for messages. */
  pointer: string;
  /** Instead of the step's own key; `null`: none at all. */
  key?: string | null;
}

export type Ask = (request: JobRequest) => Promise<{ answer: TargetAnswer; scope: Scope }>;

/** What a failed job said, for its problem. */
const ANSWER_CHARS = 300;

/** One part of a job whose calls are HTTP: the start gives `{ id }`, a poll the output or NotYet, a cancel nothing. */
export async function httpJob(job: JobManifest, call: AtomCall, name: string, ask: Ask): Promise<Json> {
  const { phase, id = '' } = call.job!;
  if (phase === 'start') {
    const { start } = job;
    if (start === undefined) throw new OpsError('configuration', `the job ${name} has no start`);
    const { answer, scope } = await ask({ spec: start, pointer: '/job/start' });
    return { id: renderTemplate(start.id ?? '${response.body.id}', withResponse(scope, answer)) };
  }
  const part = phase === 'poll' ? job.poll : job.cancel;
  if (part?.url === undefined) throw new OpsError('configuration', `the job ${name} has no ${phase}`);
  const request = { ...part, url: part.url, method: part.method ?? (phase === 'poll' ? 'GET' : 'POST') };
  if (phase === 'cancel') {
    // A key of its own: under the start's, a target that honours keys would answer with the start's answer.
    await ask({ spec: request, pointer: '/job/cancel', key: `${call.context.key}-cancel` });
    return null;
  }
  const { answer, scope } = await ask({ spec: request, pointer: '/job/poll', key: null });
  return judge(job.poll, withResponse(scope, answer), { name, id, answer });
}

function withResponse(scope: Scope, answer: TargetAnswer): Scope {
  return { ...scope, response: toScopeValue({ ...answer } as unknown as Json) };
}

function judge(
  poll: JobManifest['poll'],
  scope: Scope,
  { name, id, answer }: { name: string; id: string; answer: TargetAnswer },
): Json {
  const said = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body);
  if (poll.failed !== undefined && evaluateCondition(poll.failed, scope))
    throw new AtomError(`atom/${name}/failed`, `the job ${id} failed: ${said.slice(0, ANSWER_CHARS)}`, {
      title: 'The job failed',
      extensions: { jobId: id },
    });
  if (poll.done !== undefined && evaluateCondition(poll.done, scope))
    return poll.output === undefined ? answer.body : renderTemplate(poll.output, scope);
  throw new NotYet(progressOf(poll.progress, scope));
}

/** Progress is for people: what cannot be rendered is left out, and never fails a job. */
function progressOf(template: JobManifest['poll']['progress'], scope: Scope): Progress {
  const progress: Progress = {};
  const value = (part: Json | undefined): Json => {
    try {
      return part === undefined ? null : renderTemplate(part, scope);
    } catch {
      return null;
    }
  };
  const percent = Number(value(template?.percent) ?? Number.NaN);
  if (Number.isFinite(percent)) progress.percent = Math.min(100, Math.max(0, percent));
  const message = value(template?.message);
  if (message !== null)
    progress.message = (typeof message === 'string' ? message : JSON.stringify(message)).slice(0, 200);
  return progress;
}
