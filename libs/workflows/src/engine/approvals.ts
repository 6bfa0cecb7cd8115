/** Approvals that stand open in this workflow, and the answers of people to them. */
import { answerRefusal, neededOf } from '@opsloop/contracts';
import type {
  AnswerRequest,
  AnswerResult,
  ApprovalAnswer,
  ApprovalStatus,
  Approvers,
  Initiator,
} from '@opsloop/contracts';
import { ApplicationFailure } from '@temporalio/workflow';

/** One approval while it is open; plain data, so that a continue-as-new takes it along. */
export interface OpenApproval {
  approvers: Approvers;
  openedAt: string;
  expiresAt: string;
  escalated?: true;
  answers: ApprovalAnswer[];
  /** It is decided, and the step goes on. */
  outcome?: { status: Exclude<ApprovalStatus, 'open'>; reason?: string };
}

export class OpenApprovals {
  private readonly open = new Map<string, OpenApproval>();

  constructor(private readonly initiator: Initiator) {}

  /** The approval at this full path; the one of the Temporal run before goes on. */
  begin(path: string, make: () => OpenApproval): OpenApproval {
    let approval = this.open.get(path);
    if (approval === undefined) this.open.set(path, (approval = make()));
    return approval;
  }

  end(path: string): void {
    this.open.delete(path);
  }

  /** Refuses what cannot be answered; a refused answer never enters the history. */
  validate(request: AnswerRequest): void {
    const approval = this.open.get(request.path);
    if (approval === undefined) throw refusal('conflict', `nothing is asked at ${request.path} now`);
    if (approval.outcome !== undefined) throw refusal('conflict', `it is ${approval.outcome.status} already`);
    if (request.answer === 'withdraw') return;
    const why = answerRefusal(approval.approvers, this.initiator, request.person);
    if (why !== undefined) throw refusal('authorization', why);
    const before = approval.answers.find((answer) => answer.by === request.person.name);
    if (before !== undefined && before.answer !== request.answer)
      throw refusal('conflict', `${before.by} has answered ${before.answer} already`);
  }

  answer({ path, answer, person, reason, form }: AnswerRequest, at: string): AnswerResult {
    const approval = this.open.get(path);
    // Accepted, and decided by another answer of the same task.
    if (approval === undefined) throw refusal('conflict', `nothing is asked at ${path} now`);
    if (answer === 'withdraw') {
      approval.outcome ??= { status: 'withdrawn', ...(reason === undefined ? {} : { reason }) };
    } else if (approval.outcome === undefined && !approval.answers.some((one) => one.by === person.name)) {
      approval.answers.push({
        by: person.name,
        answer,
        at,
        ...(reason === undefined ? {} : { reason }),
        ...(form === undefined ? {} : { form }),
      });
      if (answer === 'reject')
        approval.outcome = {
          status: 'rejected',
          reason: `rejected by ${person.name}${reason === undefined ? '' : `: ${reason}`}`,
        };
      else if (approvalsOf(approval) >= neededOf(approval.approvers)) approval.outcome = { status: 'approved' };
    }
    return {
      status: approval.outcome?.status ?? 'open',
      approvals: approvalsOf(approval),
      needed: neededOf(approval.approvers),
    };
  }

  carry(): Record<string, OpenApproval> | undefined {
    return this.open.size === 0 ? undefined : Object.fromEntries(this.open);
  }

  restore(carried: Record<string, OpenApproval> | undefined): void {
    for (const [path, approval] of Object.entries(carried ?? {})) this.open.set(path, approval);
  }
}

const approvalsOf = (approval: OpenApproval): number =>
  approval.answers.filter((answer) => answer.answer === 'approve').length;

function refusal(type: string, message: string): ApplicationFailure {
  return ApplicationFailure.create({ type, message, nonRetryable: true });
}
