export { temporalConfigFromEnv, type TemporalConfig } from './config.js';
export { problemOfFailure, toApplicationFailure } from './failure.js';
export type { Log } from './log.js';
export { installRuntime } from './runtime.js';
export { TEMPORAL_CONFIG } from './temporal.tokens.js';
export { TemporalConnection } from './temporal-connection.service.js';
export { TemporalModule } from './temporal.module.js';
export { WorkerHost } from './worker-host.service.js';
export {
  cachedRunsFor,
  createAtomWorker,
  createFlowWorker,
  parseDeployment,
  type AtomWorkerOptions,
  type FlowWorkerOptions,
} from './flow-worker.js';
export { interpreterPreload, interpreterWorkflows, workflowBundle } from './workflow-bundle.js';
export {
  defaultCacheDir,
  embeddedTemporalArgs,
  findTemporalBinary,
  startEmbeddedTemporal,
  type EmbeddedTemporal,
  TEMPORAL_CLI_VERSION,
  type EmbeddedTemporalOptions,
  type TemporalBinary,
} from '@opsloop/embedded';
