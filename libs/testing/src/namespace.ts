import { randomUUID } from 'node:crypto';
import { TEMPORAL_NAMES } from '@opsloop/contracts';
import { Client, Connection } from '@temporalio/client';
import { eventually } from './eventually.js';
import { testTemporal } from './servers.js';

/** Long enough for the longest run of specs. */
const KEPT_S = 86_400;
/** A server reads its list of namespaces anew every few seconds; on a busy machine that takes its time. */
const SEEN_WITHIN = { timeoutMs: 40_000, everyMs: 100 };
/** `temporal.api.enums.v1.IndexedValueType`. */
const TYPES = { Keyword: 2, KeywordList: 7 } as const;

export interface TestNamespace {
  address: string;
  namespace: string;
}

/**
 * A namespace of its own on the Temporal server of this run, ready to start workflows in. `searchAttributes`: with
 * those by which the product finds its runs, as its own server has them; they take a second or two more.
 */
export async function createTestNamespace(
  prefix: string,
  options: { searchAttributes?: boolean } = {},
): Promise<TestNamespace> {
  const { address } = await testTemporal();
  const namespace = `${prefix}-${randomUUID().slice(0, 8)}`;
  const connection = await Connection.connect({ address });
  try {
    await connection.workflowService.registerNamespace({
      namespace,
      workflowExecutionRetentionPeriod: { seconds: KEPT_S as never },
    });
    if (options.searchAttributes === true) {
      const named = Object.entries(TEMPORAL_NAMES.searchAttributes).map(([name, type]) => [name, TYPES[type]]);
      const searchAttributes = Object.fromEntries(named) as Record<string, number>;
      await eventually(
        () => connection.operatorService.addSearchAttributes({ namespace, searchAttributes }),
        SEEN_WITHIN,
      );
    }
    const { workflow } = new Client({ connection, namespace });
    // Asks for attributes of both types: a query that names an unknown one is refused.
    const query = options.searchAttributes === true ? "OpsPhase = 'waiting' AND OpsTargets = 'a'" : undefined;
    await eventually(() => workflow.count(query), SEEN_WITHIN);
  } finally {
    await connection.close();
  }
  return { address, namespace };
}
