export { DecisionModule } from './decision.module.js';
export { type DecisionConfig, decisionConfigFromEnv } from './config.js';
export { decisionMigrations } from './migrations/index.js';
