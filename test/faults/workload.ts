/** What the suite lets the platform do: two rules answer each event with two flows that work on the same target. */
import { OpsloopClient } from '@opsloop/api-client';
import type { JsonObject } from '@opsloop/contracts';
import type { FaultStack } from './stack.js';

const DSL = { dsl: 'opsloop/v1', version: '1.0.0', owner: 'team-faults' };
const POST_TIMEOUT_MS = 5_000;
const RETRY_MS = 50;

const INPUT = {
  schema: { type: 'object', required: ['target'], properties: { target: { type: 'string' } } },
};

const ATOM = {
  ...DSL,
  kind: 'atom',
  name: 'faults.apply',
  effect: 'mutate',
  idempotency: 'native',
  targets: ['${input.target}'],
  input: {
    schema: {
      type: 'object',
      required: ['target', 'step'],
      properties: { target: { type: 'string' }, step: { type: 'string' } },
    },
  },
  http: { method: 'POST', url: '${config.faults.sink}/apply/${input.step}/${input.target}', expect: [200] },
  // Short, since a killed worker is noticed by it; many attempts, since an outage lasts for half a minute.
  timeout: { startToClose: '3s' },
  retry: { initialInterval: '200ms', maximumInterval: '1s', maximumAttempts: 200 },
};

function flow(name: string, steps: readonly string[]): JsonObject {
  return {
    ...DSL,
    kind: 'flow',
    name,
    input: INPUT,
    targets: '${input.target}',
    do: steps.map((step) => ({
      id: step,
      call: 'faults.apply@1',
      with: { target: '${input.target}', step },
    })),
  } as JsonObject;
}

function rule(name: string, run: string, type: string, target: string): JsonObject {
  return {
    ...DSL,
    kind: 'rule',
    name,
    mode: 'active',
    on: [{ type }],
    // A late report of a state is still a job to do.
    stale: true,
    targets: { paths: [target] },
    branches: [{ id: 'all', ladder: [{ id: 'work', run: `${run}@1`, with: { target }, attempts: 1 }] }],
  } as JsonObject;
}

/** Steps of each flow, by name: what the sink has to see exactly once per run. */
export const STEPS: Readonly<Record<string, readonly string[]>> = {
  'faults/work': ['first', 'second'],
  'faults/check': ['check'],
};

/** Each event is answered by both flows, on the target that is its subject. */
export const PAIR_EVENT = 'faults.happened';
/** Of each such event: two rules answer it, and their flows want the same lock. */
export const DECISIONS = 2;
/** Each report is one job, on the target that it names; its subject's state comes along. */
export const REPORT_EVENT = 'faults.state';

export async function applyDocuments(stack: FaultStack, sinkUrl: string): Promise<OpsloopClient> {
  const client = clientOf(stack);
  await client.putDocument('config', 'faults', {
    dsl: 'opsloop/v1',
    kind: 'config',
    name: 'faults',
    values: { sink: sinkUrl },
  });
  await client.putDocument('atom', ATOM.name, ATOM);
  for (const [name, steps] of Object.entries(STEPS)) {
    await client.putDocument('flow', name, flow(name, steps));
    await client.flowAct('publish', name, DSL.version);
  }
  const rules = [
    rule('faults/work', 'faults/work', PAIR_EVENT, '${event.subject}'),
    rule('faults/check', 'faults/check', PAIR_EVENT, '${event.subject}'),
    rule('faults/report', 'faults/check', REPORT_EVENT, '${event.data.job}'),
  ];
  for (const document of rules) await client.putDocument('rule', String(document['name']), document);
  return client;
}

export function clientOf(stack: FaultStack): OpsloopClient {
  return new OpsloopClient({ url: stack.url, token: stack.key });
}

export interface Sent {
  id: string;
  eventId: string;
  /** Deliveries until one was answered. */
  tries: number;
}

export function pairEvent(id: string): JsonObject {
  return { specversion: '1.0', source: 'faults', id, type: PAIR_EVENT, subject: `unit/${id}`, time: now(), data: {} };
}

const now = (): string => new Date().toISOString();

/** Posts as an honest sender would: the same event again until it is acknowledged. Gives up only on a refusal. */
export async function postUntilAcked(stack: FaultStack, event: JsonObject, stopped = () => false): Promise<Sent> {
  for (let tries = 1; ; tries += 1) {
    const answer = await post(stack, event).catch(() => undefined);
    if (answer?.status === 202) {
      const body = (await answer.json()) as { items: { eventId: string }[] };
      return { id: String(event['id']), eventId: body.items[0]!.eventId, tries };
    }
    if (answer !== undefined && answer.status < 500 && answer.status !== 429)
      throw new Error(`the event was refused: ${answer.status} ${await answer.text()}`);
    if (stopped()) throw new Error('the test ended before the event was acknowledged');
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

export function post(stack: FaultStack, event: JsonObject): Promise<Response> {
  return fetch(`${stack.url}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.key}`, 'content-type': 'application/cloudevents+json' },
    body: JSON.stringify(event),
    signal: AbortSignal.timeout(POST_TIMEOUT_MS),
  });
}

/** Runs `work` over the items, `width` at a time. */
export async function inParallel<T, R>(
  items: readonly T[],
  width: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++) results[index] = await work(items[index]!);
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}
