export { type DslInterpreterConfig, dslInterpreterConfigFromEnv } from './config.js';
export { DslInterpreterModule } from './dsl-interpreter.module.js';
