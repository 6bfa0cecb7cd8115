/** What code outside the workflow sandbox needs. The workflow itself is `@opsloop/workflows/bundle`. */
export type {
  ApprovalRequest,
  ClaimAnswer,
  ClaimRequest,
  DryRunAnswer,
  DryRunRequest,
  EmitRequest,
  FlowActivities,
  GateRequest,
  LoadRequest,
  ReleaseRequest,
  ReportRequest,
} from './activities.js';
export type { TryOutcome, TryRequest } from './try-activity.js';
export { codeOf } from './engine/problems.pure.js';
export { flowAt } from './engine/find-step.pure.js';
export { retryState } from './engine/retry-state.pure.js';
export type { RetryRequest } from './engine/retry-state.pure.js';
