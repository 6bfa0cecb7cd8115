export { DecisionModule } from './decision.module.js';
export { type DecisionConfig, decisionConfigFromEnv } from './config.js';
export { decisionMigrations } from './migrations/index.js';
export { playRuleTest, type RuleTestGiven, type RuleTestSeen } from './play-rules/play-rule-test.pure.js';
