/** Why an open run does not go on. Pure: what Temporal and the tables say comes in, what a person should know goes out. */
import { type BlockedBy, type Diagnosis, DIAGNOSIS_CODES, type OperatorAct, TEMPORAL_NAMES } from '@opsloop/contracts';

/** An activity that Temporal has not finished. */
export interface ActivityFacts {
  /** Instance path of its step. */
  path: string;
  /** Activity type: of a bundled atom its name. */
  type: string;
  /** Absent where the server is too old to say. */
  queue?: string;
  state: 'scheduled' | 'started' | 'paused';
  attempt: number;
  /** 0: no end. */
  maximumAttempts: number;
  /** Of the last attempt that failed. */
  failure?: { message: string; type?: string };
  scheduledAt?: Date;
  startedAt?: Date;
  heartbeatAt?: Date;
  nextAttemptAt?: Date;
  worker?: string;
}

/** How its workflow stands with Temporal. */
export interface WorkflowFacts {
  events: number;
  bytes: number;
  /** A turn of the workflow's code that nobody has finished. */
  task?: { scheduledAt?: Date; startedAt?: Date; attempt: number };
  activities: readonly ActivityFacts[];
  /** Sub-flows under way. */
  children?: number;
}

/** Who took tasks of a queue lately; undefined: Temporal did not say. */
export type Pollers = (queue: string) => { lastSeenAt?: Date } | undefined;

export interface RunFacts {
  id: string;
  now: Date;
  /** `unreachable`: Temporal does not answer. */
  workflow?: WorkflowFacts | 'unreachable';
  pollers: Pollers;
}

/** Temporal ends a workflow at 51,200 events or 50 MB; the interpreter goes on in a new one long before. */
const EVENTS_NEAR = 40_000;
const BYTES_NEAR = 40 * 1024 * 1024;
/** A worker that polls asks again within a minute; what was not seen for longer is gone. */
export const POLLER_AGE_MS = 70_000;
/** Below this a task is on its way. */
const TASK_WAIT_MS = 5_000;
/** The third attempt of one turn is no accident: the code fails. */
const TASK_ATTEMPTS = 3;
/** One failed attempt is what retries are for. */
const RETRIES_STUCK = 3;
/** Workers beat every 3 s; one that was silent for a minute is busy without telling, or gone. */
const SILENT_MS = 60_000;
/** One line of a terminal. */
const SAYS_CHARS = 300;

const UNKNOWN_ACTIVITY =
  /activity (function|type)?.*(is not registered|not registered|unable to find activitytype|activity type.*not)/i;

/** `4m 10s`. */
export function ago(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1_000));
  if (s < 60) return `${s}s`;
  if (s < 3_600) return `${Math.floor(s / 60)}m ${s % 60}s`;
  return s < 172_800
    ? `${Math.floor(s / 3_600)}h ${Math.floor((s % 3_600) / 60)}m`
    : `${Math.floor(s / 86_400)}d ${Math.floor((s % 86_400) / 3_600)}h`;
}

/** All that is found, worst first. */
export function diagnose(facts: RunFacts): Diagnosis[] {
  const { workflow, id } = facts;
  if (workflow === undefined) return [];
  if (workflow === 'unreachable')
    return [
      {
        code: 'temporal-unreachable',
        stuck: true,
        says: 'Temporal does not answer, so nothing of this run goes on',
        suggest: 'bring Temporal back; runs go on where they were',
        next: 'opsloop doctor',
      },
    ];
  const found = [
    ...ofWorkflow(facts, workflow),
    ...workflow.activities.flatMap((one) => ofActivity(facts, one) ?? []),
    ...ofHistory(id, workflow),
  ];
  return sorted(found.map((one) => ({ ...one, says: one.says.slice(0, SAYS_CHARS) })));
}

export function sorted(list: readonly Diagnosis[]): Diagnosis[] {
  return list.toSorted(
    (a, b) => Number(b.stuck) - Number(a.stuck) || DIAGNOSIS_CODES.indexOf(a.code) - DIAGNOSIS_CODES.indexOf(b.code),
  );
}

/** Not seen for longer than a worker that polls would be; undefined: unknown. */
function isPolled(pollers: Pollers, queue: string, now: Date): boolean | undefined {
  const seen = pollers(queue);
  if (seen === undefined) return undefined;
  return seen.lastSeenAt !== undefined && now.getTime() - seen.lastSeenAt.getTime() <= POLLER_AGE_MS;
}

const sinceOf = (at: Date | undefined): { since?: string } => (at === undefined ? {} : { since: at.toISOString() });

function ofWorkflow({ id, now, pollers }: RunFacts, { task }: WorkflowFacts): Diagnosis[] {
  if (task === undefined) return [];
  if (task.attempt >= TASK_ATTEMPTS)
    return [
      {
        code: 'workflow-failing',
        stuck: true,
        says: `its workflow code has failed ${task.attempt - 1} times at one place`,
        suggest: 'look at the workflow task failure in Temporal Web UI; it goes on once a worker with right code runs',
        next: `opsloop runs show ${id}`,
        ...sinceOf(task.scheduledAt),
      },
    ];
  const waitedMs = task.scheduledAt === undefined ? 0 : now.getTime() - task.scheduledAt.getTime();
  if (task.startedAt !== undefined || waitedMs < TASK_WAIT_MS) return [];
  return [
    queueDiagnosis({
      id,
      queue: TEMPORAL_NAMES.flowQueue,
      waitedMs,
      polled: isPolled(pollers, TEMPORAL_NAMES.flowQueue, now),
      at: task.scheduledAt,
    }),
  ];
}

function ofActivity({ id, now, pollers }: RunFacts, one: ActivityFacts): Diagnosis[] | undefined {
  const { path, failure, attempt, maximumAttempts } = one;
  // A poll that finds its job at work is no attempt that failed.
  const failed = failure !== undefined && failure.type !== 'not-yet' ? failure : undefined;
  if (failed?.type === 'halted')
    return [
      {
        code: 'halted',
        stuck: false,
        path,
        says: `${path}: ${failed.message}`,
        suggest: 'it goes on when the halt is lifted',
        next: 'opsloop halts ls',
      },
    ];
  if (one.state === 'paused')
    return [
      {
        code: 'halted',
        stuck: false,
        path,
        says: `${path} is held before its next attempt`,
        suggest: 'it goes on when the halt is lifted',
        next: 'opsloop halts ls',
      },
    ];
  if (failed !== undefined && (failed.type === 'NotFoundError' || UNKNOWN_ACTIVITY.test(failed.message)))
    return [
      {
        code: 'atom-unknown',
        stuck: true,
        path,
        says: `${path}: a worker of the queue ${one.queue ?? '?'} does not know the activity ${one.type}`,
        suggest: `serve ${one.type} from that worker, or correct worker.activity of the atom`,
        next: `opsloop runs cancel ${id} --reason "its atom is not served"`,
      },
    ];
  if (failed !== undefined && attempt > RETRIES_STUCK)
    return [
      {
        code: 'retrying',
        stuck: true,
        path,
        says: `${path}: attempt ${attempt}${maximumAttempts > 0 ? ` of ${maximumAttempts}` : ', without an end'}; the last one failed: ${failed.message}`,
        suggest: 'mend the target, or skip the step once it is done by hand',
        next: `opsloop runs skip ${id} ${path} --reason "…"`,
        ...sinceOf(one.scheduledAt),
      },
    ];
  if (one.state === 'started') return silent(id, now, one);
  const due = one.nextAttemptAt ?? one.scheduledAt;
  const waitedMs = due === undefined ? 0 : now.getTime() - due.getTime();
  if (one.queue === undefined || waitedMs < TASK_WAIT_MS) return undefined;
  const polled = isPolled(pollers, one.queue, now);
  return [{ ...queueDiagnosis({ id, queue: one.queue, waitedMs, polled, at: due }), path }];
}

function queueDiagnosis(q: {
  id: string;
  queue: string;
  waitedMs: number;
  polled: boolean | undefined;
  at: Date | undefined;
}): Diagnosis {
  const own = q.queue === TEMPORAL_NAMES.flowQueue || q.queue === TEMPORAL_NAMES.atomQueue;
  if (q.polled === false)
    return {
      code: 'no-worker',
      stuck: true,
      says: `no worker takes tasks of the queue ${q.queue}; one waits for ${ago(q.waitedMs)}`,
      suggest: own
        ? 'start the interpreter (dsl-interpreter, or opsloop up)'
        : `start the worker that serves ${q.queue}`,
      next: own ? 'opsloop doctor' : `opsloop runs cancel ${q.id} --reason "no worker for ${q.queue}"`,
      ...sinceOf(q.at),
    };
  return {
    code: 'workers-busy',
    stuck: q.polled === true && q.waitedMs > SILENT_MS,
    says: `a task waits for ${ago(q.waitedMs)} on the queue ${q.queue}; its workers are busy`,
    suggest: 'start more workers of this queue, or make fewer runs at a time',
    next: `opsloop runs show ${q.id}`,
    ...sinceOf(q.at),
  };
}

/** Temporal gives the step to another worker after its time limits; until then a person may wonder. */
function silent(id: string, now: Date, one: ActivityFacts): Diagnosis[] | undefined {
  const last = one.heartbeatAt ?? one.startedAt;
  if (last === undefined || now.getTime() - last.getTime() < SILENT_MS) return undefined;
  const quiet = ago(now.getTime() - last.getTime());
  return [
    {
      code: 'silent',
      stuck: false,
      path: one.path,
      says: `${one.path}: ${one.worker ?? 'its worker'} ${one.heartbeatAt === undefined ? `began ${quiet} ago and tells no progress` : `last told progress ${quiet} ago`}`,
      suggest: 'Temporal gives it to another worker once its time limit is over',
      next: `opsloop runs logs ${id}`,
      since: last.toISOString(),
    },
  ];
}

function ofHistory(id: string, { events, bytes }: WorkflowFacts): Diagnosis[] {
  if (events < EVENTS_NEAR && bytes < BYTES_NEAR) return [];
  return [
    {
      code: 'history-near-limit',
      stuck: true,
      says: `its history has ${events} events and ${Math.round(bytes / 1024 / 1024)} MB; Temporal ends it at 51,200 or 50 MB`,
      suggest: 'cancel it and go on with a retry, which begins a new history',
      next: `opsloop runs cancel ${id} --reason "its history is near the limit"`,
    },
  ];
}

/** Held by an operator: who, since when and why stand in its acts. */
export function diagnosePaused(id: string, acts: readonly OperatorAct[], now: Date): Diagnosis {
  const act = acts.findLast((one) => one.act === 'pause');
  const path = act?.path === undefined ? {} : { path: act.path };
  const where = act?.path === undefined ? '' : ` before ${act.path}`;
  const says =
    act === undefined
      ? 'an operator has paused it'
      : `paused${where} by ${act.by} ${ago(now.getTime() - Date.parse(act.at))} ago: ${act.reason}`;
  return {
    code: 'paused',
    stuck: false,
    says: says.slice(0, SAYS_CHARS),
    suggest: 'it goes on when it is resumed',
    next: `opsloop runs resume ${id} --reason "…"`,
    ...path,
    ...(act === undefined ? {} : { since: act.at }),
  };
}

export interface WaitingFacts {
  id: string;
  state: 'queued' | 'held' | 'needs-approval';
  reason?: string | undefined;
  position?: number | undefined;
  blockedBy?: readonly BlockedBy[] | undefined;
  since: Date;
  validUntil: Date;
  now: Date;
}

/** Why work that has not begun does not begin. */
export function diagnoseWaiting(w: WaitingFacts): Diagnosis {
  const base = { stuck: false, since: w.since.toISOString() };
  const left = ago(w.validUntil.getTime() - w.now.getTime());
  if (w.state === 'held')
    return {
      ...base,
      code: 'held',
      says: w.reason ?? 'held by a halt',
      suggest: 'it goes on when the halt is lifted',
      next: 'opsloop halts ls',
    };
  if (w.state === 'needs-approval')
    return {
      ...base,
      code: 'approval-waiting',
      says: w.reason ?? 'people are asked before it may start',
      suggest: 'answer the question',
      next: 'opsloop approvals ls',
    };
  const [first] = w.blockedBy ?? [];
  if (first === undefined)
    return {
      ...base,
      code: 'lock-wait',
      says: `${w.reason ?? 'its turn has not come'}; it expires in ${left}`,
      suggest: 'nothing; it is asked again each second',
      next: `opsloop runs show ${w.id}`,
    };
  const who = first.runId === undefined ? first.owner : `run ${first.runId} (${first.owner})`;
  return {
    ...base,
    code: 'lock-wait',
    says: `place ${w.position ?? 1} in the queue for ${first.path}, behind ${who}; it expires in ${left}`,
    suggest: 'wait, or end what is in the way',
    next: first.runId === undefined ? `opsloop locks ls ${first.path}` : `opsloop runs show ${first.runId}`,
  };
}
