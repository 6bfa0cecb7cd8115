import type { MigrationSet } from '@opsloop/postgres';
import { CreateBus1700000000000 } from './migrations/1700000000000-create-bus.js';
import { PlanBusOnce1700000000050 } from './migrations/1700000000050-plan-once.js';
import { CarryOnKafka1700000000100 } from './migrations/1700000000100-carry-on-kafka.js';

/** Tables and functions of the bus; every process that publishes or consumes needs them. */
export const busMigrations: MigrationSet = {
  schema: 'bus',
  migrations: [CreateBus1700000000000, PlanBusOnce1700000000050, CarryOnKafka1700000000100],
};
