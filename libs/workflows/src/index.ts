/** What code outside the workflow sandbox needs. The workflow itself is `@opsloop/workflows/bundle`. */
export type {
  ApprovalRequest,
  ClaimAnswer,
  ClaimRequest,
  EmitRequest,
  FlowActivities,
  GateRequest,
  LoadRequest,
  ReleaseRequest,
  ReportRequest,
} from './activities.js';
export { codeOf } from './engine/problems.pure.js';
