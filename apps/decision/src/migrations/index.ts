import type { MigrationSet } from '@opsloop/postgres';
import { DecisionTables1789000000001 } from './1-tables.migration.js';

export const decisionMigrations: MigrationSet = { schema: 'decision', migrations: [DecisionTables1789000000001] };
