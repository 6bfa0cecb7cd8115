import { OpsError } from '@opsloop/contracts';
import { Client } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import { nativeOptions, type TemporalConfig } from './config.js';
import type { Log } from './log.js';
import { installRuntime } from './runtime.js';

/** Servers that are started together come up in any order; a minute would hide a wrong address, a second would break compose files. */
const CONNECT_WITHIN_MS = 30_000;
const CONNECT_RETRY_MS = 500;
/** A health check that takes longer is a failed one: probes give up after a few seconds too. */
const CHECK_DEADLINE_MS = 2_000;

/**
 * The one connection of this process to Temporal. Client and workers share it: only then can the server hand the
 * first task of a workflow to this process with the answer to `start` (`requestEagerStart`), without matching.
 */
export class TemporalConnection {
  readonly client: Client;

  private constructor(
    readonly connection: NativeConnection,
    readonly config: TemporalConfig,
  ) {
    this.client = new Client({ connection, namespace: config.namespace });
  }

  static async connect(config: TemporalConfig, log: Log, withinMs = CONNECT_WITHIN_MS): Promise<TemporalConnection> {
    installRuntime(log);
    const deadline = Date.now() + withinMs;
    for (;;) {
      try {
        return new TemporalConnection(await NativeConnection.connect(nativeOptions(config)), config);
      } catch (error) {
        if (Date.now() + CONNECT_RETRY_MS >= deadline) {
          const detail = `Temporal does not answer at ${config.address}: ${error instanceof Error ? error.message : String(error)}. Check TEMPORAL_ADDRESS, or start a server`;
          throw new OpsError('unavailable', detail, { cause: error });
        }
        log.warn('waiting for Temporal', { address: config.address });
        await new Promise((resolve) => setTimeout(resolve, CONNECT_RETRY_MS));
      }
    }
  }

  get namespace(): string {
    return this.config.namespace;
  }

  get uiUrl(): string | undefined {
    return this.config.uiUrl;
  }

  /** Link of a workflow in the Web UI; `undefined` when no UI is known. */
  workflowUrl(workflowId: string, runId?: string): string | undefined {
    if (this.uiUrl === undefined) return undefined;
    const run = runId === undefined ? '' : `/${encodeURIComponent(runId)}/history`;
    return `${this.uiUrl}/namespaces/${encodeURIComponent(this.namespace)}/workflows/${encodeURIComponent(workflowId)}${run}`;
  }

  /** Throws when the server or the namespace does not answer. */
  async check(): Promise<void> {
    await this.connection.withDeadline(Date.now() + CHECK_DEADLINE_MS, () =>
      this.connection.workflowService.describeNamespace({ namespace: this.namespace }),
    );
  }
}
