export type { OutMessage, Query, Tx } from './tx.js';
export { Database, type TransactionOptions } from './database.service.js';
export { connectDatabase, type PostgresOptions } from './connect.js';
export { PostgresModule } from './postgres.module.js';
export type { MigrationSet } from './migrate.js';
export * from './document-store.js';
export type { BatchDocument, BatchResult } from './document-batch.js';
export * from './due-loop.js';
export { isConnectionFailure, isRepeatable, isUniqueViolation } from './errors.pure.js';
/** What a hand-written migration implements; re-exported so that apps need no TypeORM of their own for it. */
export type { MigrationInterface, QueryRunner } from 'typeorm';
