export { AtomExecutor, type AtomExecutorOptions } from './atom-executor.js';
export type { CallControls, ResourceQuery } from './bundled.js';
export { HttpGuard, type GuardedAnswer, type GuardedRequest, type HttpGuardOptions } from './http-guard.js';
export { ScriptRunner, type ScriptRunnerOptions } from './script-runner.js';
export {
  CallSecrets,
  EnvironmentSecrets,
  FirstOf,
  platformSecrets,
  StoredSecrets,
  type PlatformAccess,
  type SecretSource,
} from './secrets.js';
export {
  defineAtom,
  type AtomArguments,
  type AtomDefinition,
  type JobArguments,
  type JobDefinition,
} from './define-atom.js';
export type { AtomLock, LockOptions } from './locks.js';
export { NotYet, pollOnce, type JobState, type PollContext } from './job.js';
export { ReadCache } from './read-cache.js';
export { activitiesOf, activityOf, serveAtoms, type AtomService, type ServeOptions } from './serve-atoms.js';
export { verifyAtom, type Trial, type TrialOutcome, type VerifyCheck, type VerifyTools } from './verify-atom.js';
export { fittingLines, StepLog, type LogSink, type StepLogOptions } from './step-log.js';
