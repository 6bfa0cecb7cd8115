export { postgresBinaries, type PostgresBinaries } from './postgres-binaries.js';
export {
  runSql,
  startEmbeddedPostgres,
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
} from './postgres-server.js';
export { isAlive, markOf, processStarted, stopProcess, type ProcessMark } from './processes.js';
export {
  embeddedTemporalArgs,
  startEmbeddedTemporal,
  type EmbeddedTemporal,
  type EmbeddedTemporalOptions,
} from './temporal-server.js';
export { defaultCacheDir, findTemporalBinary, TEMPORAL_CLI_VERSION, type TemporalBinary } from './temporal-binary.js';
export { withFileLock } from './file-lock.js';
export type { Log } from './log.js';
export { freePort, isPortBusy, isPortFree } from './ports.js';
