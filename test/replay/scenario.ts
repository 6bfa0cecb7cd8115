/** What a scenario is, and what several of them share. */
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import type { AnswerRequest, FlowDocument, Step } from '@opsloop/contracts';
import { ApplicationFailure } from '@temporalio/common';
import { eventually } from '@opsloop/testing';
import type { Harness, Run, RunOptions } from '../../libs/workflows/test/harness.js';

export interface Scenario {
  doc: Partial<FlowDocument> & { do: Step[] };
  options?: RunOptions;
  stub?: (h: Harness) => void;
  /** What happens while it runs. */
  meanwhile?: (run: Run, h: Harness) => Promise<void>;
  /** Workflow ids of sub-flows to keep as well, from the ids in the steps. */
  withChildren?: true;
  /** The first Temporal run is kept instead of the last. */
  keepFirst?: true;
  /** About tasks that end before what they began, of which a virtual server knows nothing. */
  ofTasks?: true;
  /** How it ends, when not well. */
  ends?: 'failed' | 'cancelled';
}

export const refuse = (type: string, nonRetryable = true): never => {
  throw ApplicationFailure.create({ type, message: `${type} on purpose`, nonRetryable });
};
export const call = (id: string, atom = `a.${id}@1`): Step => ({ id, call: atom });
export const hosts = ['host/a', 'host/b', 'host/c'];

export const stands = (run: Run, path: string, status: string): Promise<void> =>
  eventually(async () => {
    if ((await run.step(path))?.status !== status) throw new Error('not yet');
  });

export async function waits(run: Run, path: string): Promise<void> {
  await eventually(async () => {
    if ((await run.step(path))?.status !== 'waiting') throw new Error('not yet');
  });
}

export async function events(run: Run, ...types: string[]): Promise<void> {
  const list = types.map((type) => ({
    eventId: type,
    id: type,
    source: 's',
    type,
    time: '2026-01-01',
    data: { n: 2 },
  }));
  await run.handle.signal(TEMPORAL_NAMES.eventsSignal, { events: list });
}

export async function answers(run: Run, path: string, name: string, answer: AnswerRequest['answer']): Promise<void> {
  const request: AnswerRequest = { path, answer, person: { kind: 'user', name, groups: [] }, reason: 'so' };
  await eventually(() => run.handle.executeUpdate(TEMPORAL_NAMES.approvalUpdate, { args: [request] }));
}
