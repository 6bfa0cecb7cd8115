export { postgresBinaries, type PostgresBinaries } from './postgres-binaries.js';
export {
  isPortBusy,
  startEmbeddedPostgres,
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
} from './postgres-server.js';
export { isAlive, markOf, processStarted, stopProcess, type ProcessMark } from './processes.js';
