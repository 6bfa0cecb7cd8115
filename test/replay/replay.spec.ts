import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { temporal } from '@temporalio/proto';
import { DeterminismViolationError } from '@temporalio/workflow';
import { Worker } from '@temporalio/worker';
import { beforeAll, describe, expect, it } from 'vitest';
import { type WorkflowBundle, installRuntime, workflowBundle } from '../../libs/workflows/test/harness.js';
import { SCENARIOS } from './scenarios.js';

const FOLDER = fileURLToPath(new URL('./histories/', import.meta.url));
const names = readdirSync(FOLDER)
  .filter((file) => file.endsWith('.json'))
  .map((file) => file.slice(0, -'.json'.length));
type History = temporal.api.history.v1.IHistory;
/** The form in which they are kept is protobuf.js' own JSON: enum names, base64 payloads. */
const parse = (json: string): History => temporal.api.history.v1.History.fromObject(JSON.parse(json) as object);
const text = (name: string): string => readFileSync(`${FOLDER}${name}.json`, 'utf8');

let bundle: WorkflowBundle;
beforeAll(async () => {
  installRuntime();
  bundle = await workflowBundle();
});

/** Errors by name. The workflow id must be the recorded one: the ids of children follow from it. */
async function replay(histories: Map<string, History>): Promise<Map<string, unknown>> {
  const errors = new Map<string, unknown>();
  const nameOf = new Map<string, string>();
  const list = [...histories].map(([name, history]) => {
    const workflowId = history.events![0]!.workflowExecutionStartedEventAttributes!.workflowId!;
    nameOf.set(workflowId, name);
    return { workflowId, history };
  });
  for await (const result of Worker.runReplayHistories({ workflowBundle: bundle }, list)) {
    errors.set(nameOf.get(result.workflowId)!, result.error);
  }
  return errors;
}

describe('golden histories', () => {
  it('there is one of every construct', () => {
    expect(names).toEqual(expect.arrayContaining(Object.keys(SCENARIOS)));
  });

  it('today’s interpreter replays all of them', async () => {
    const errors = await replay(new Map(names.map((name) => [name, parse(text(name))])));
    expect([...errors.keys()].sort()).toEqual([...names].sort());
    for (const [name, error] of errors) expect(error, name).toBeUndefined();
  });

  it.each([
    ['another activity', (history: string) => history.replace('"a.one"', '"a.other"')],
    ['another id', (history: string) => history.replace('group/two#0', 'group/zwei#0')],
  ])('a history in which the flow did %s is refused', async (_what, change) => {
    const changed = change(text('sequence'));
    expect(changed).not.toBe(text('sequence'));
    const errors = await replay(new Map([['sequence', parse(changed)]]));
    expect(errors.get('sequence')).toBeInstanceOf(DeterminismViolationError);
  });
});
