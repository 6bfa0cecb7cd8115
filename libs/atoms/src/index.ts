export { AtomExecutor, type AtomExecutorOptions } from './atom-executor.js';
export type { CallControls, ResourceQuery } from './bundled.js';
export { HttpGuard, type GuardedAnswer, type GuardedRequest, type HttpGuardOptions } from './http-guard.js';
export { ScriptRunner, type ScriptRunnerOptions } from './script-runner.js';
export { EnvironmentSecrets, type SecretSource } from './secrets.js';
export { defineAtom, type AtomArguments, type AtomDefinition } from './define-atom.js';
export { activityOf, serveAtoms, type AtomService, type ServeOptions } from './serve-atoms.js';
