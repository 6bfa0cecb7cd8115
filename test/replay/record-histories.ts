/**
 * Records the golden histories: `npx vitest run --config test/replay/record.config.ts`. Only histories that are missing
 * are made; delete a file to record it anew, which gives up the promise that runs of that shape survive an upgrade.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { temporal } from '@temporalio/proto';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Harness, compiled } from '../../libs/workflows/test/harness.js';
import { SCENARIOS } from './scenarios.js';

const FOLDER = fileURLToPath(new URL('./histories/', import.meta.url));

let h: Harness;
beforeAll(async () => {
  h = await Harness.start();
});
afterAll(async () => h.stop());

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

async function keep(name: string, workflowId: string, runId?: string): Promise<void> {
  const history = await h.client.workflow.getHandle(workflowId, runId).fetchHistory();
  const text = JSON.stringify(temporal.api.history.v1.History.fromObject(history).toJSON(), null, 1);
  // Stack traces name the folders in which they were taken; replay never looks at them.
  const told = text.replaceAll(ROOT, '').replaceAll(/(?<=[( ])\/[^\s():"]*\/(?=node_modules\/)/g, '');
  writeFileSync(`${FOLDER}${name}.json`, `${told}\n`);
}

for (const [name, scenario] of Object.entries(SCENARIOS)) {
  it(name, async () => {
    if (existsSync(`${FOLDER}${name}.json`)) return;
    h.reset();
    h.on(TEMPORAL_NAMES.loadActivity, () => compiled(scenario.doc, scenario.options));
    scenario.stub?.(h);
    const run = await h.run(scenario.doc, scenario.options);
    await scenario.meanwhile?.(run, h);
    const end = await run.end();
    expect(end.status).toBe(
      scenario.ends ?? (name === 'cancel' ? 'cancelled' : name === 'compensation' ? 'failed' : 'succeeded'),
    );
    await keep(name, run.handle.workflowId, scenario.keepFirst === true ? run.firstRunId : undefined);
    if (scenario.withChildren !== true) return;
    for (const step of run.outcome().steps) {
      if (step.workflowId !== undefined) await keep(`${name}-child`, step.workflowId);
    }
  });
}
