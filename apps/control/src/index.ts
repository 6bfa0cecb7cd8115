export { controlConfigFromEnv } from './config.js';
export type { ControlConfig } from './config.js';
export { ControlModule, controlMigrations } from './control.module.js';
