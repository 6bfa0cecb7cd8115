import { stepKey } from '@opsloop/contracts';
import type { ApprovalRequest, EmitRequest } from '@opsloop/workflows';

/** Types of the events that tell of approvals; rules that page people name them in full. */
const TYPES = { opened: 'opsloop.approval.requested', escalated: 'opsloop.approval.escalated', closed: undefined };

/** The event by which rules can call people to an approval; none for its end. */
export function approvalEvent(request: ApprovalRequest, id: string): EmitRequest | undefined {
  const { run, tenant, report, correlationId, hops } = request;
  const type = TYPES[report.change];
  if (type === undefined) return undefined;
  const opened = report.change === 'opened' ? report : undefined;
  return {
    context: { run, step: report.path, key: stepKey(run, report.path, 0), tenant, dryRun: false },
    type,
    subject: `approval/${id}`,
    data: {
      approval: id,
      run,
      path: report.path,
      ...(report.change === 'closed' ? {} : { expiresAt: report.expiresAt }),
      ...(opened === undefined
        ? {}
        : { flow: opened.flow, title: opened.title, approvers: { ...opened.approvers }, onTimeout: opened.onTimeout }),
    },
    correlationId,
    hops,
  };
}
