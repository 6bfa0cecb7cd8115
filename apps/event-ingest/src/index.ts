export { eventIngestConfigFromEnv } from './config.js';
export type { EventIngestConfig } from './config.js';
export { EventIngestModule, eventIngestMigrations } from './event-ingest.module.js';
