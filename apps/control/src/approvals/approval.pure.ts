import {
  type ApprovalPerson,
  type ApprovalView,
  type Json,
  neededOf,
  OpsError,
  type TimelineEntry,
} from '@opsloop/contracts';
import { validateInput } from '@opsloop/dsl';
import type { Principal } from '@opsloop/platform';
import type { AnswerRow, ApprovalRow } from './approval.repository.js';

export const personOf = (principal: Principal): ApprovalPerson => ({
  kind: principal.kind,
  name: principal.name,
  groups: principal.groups,
  ...(principal.roles.includes('admin') ? { admin: true } : {}),
});

export function approvalView(row: ApprovalRow, answers: readonly AnswerRow[]): ApprovalView {
  return {
    id: row.id,
    run: row.run_id,
    flow: row.flow,
    path: row.path,
    title: row.title,
    ...(row.details === null ? {} : { details: row.details }),
    approvers: row.approvers,
    ...(row.form === null ? {} : { form: row.form }),
    onTimeout: row.on_timeout,
    status: row.status,
    openedAt: row.opened_at.toISOString(),
    expiresAt: row.expires_at.toISOString(),
    ...(row.escalated_at === null ? {} : { escalatedAt: row.escalated_at.toISOString() }),
    ...(row.closed_at === null ? {} : { closedAt: row.closed_at.toISOString() }),
    ...(row.reason === null ? {} : { reason: row.reason }),
    initiator: row.initiator,
    answers: answers.map((a) => ({
      by: a.person,
      answer: a.answer,
      at: a.at.toISOString(),
      ...(a.reason === null ? {} : { reason: a.reason }),
      ...(a.form === null ? {} : { form: a.form }),
      ...(a.accepted_at === null ? { pending: true as const } : {}),
    })),
    ...(row.policy === null ? {} : { policy: row.policy, planHash: row.plan_hash! }),
    ...(row.reminders === 0 ? {} : { reminders: row.reminders }),
    approvals: answers.filter((a) => a.answer === 'approve' && a.accepted_at !== null).length,
    needed: neededOf(row.approvers),
  };
}

/** What people were asked and what they said, for the story of a run. */
export function approvalEntries(row: ApprovalRow, answers: readonly AnswerRow[]): TimelineEntry[] {
  const needed = neededOf(row.approvers);
  const entry = (at: Date, title: string, cause?: string): TimelineEntry => ({
    at: at.toISOString(),
    kind: 'approval',
    title,
    ref: row.id,
    ...(cause === undefined ? {} : { cause }),
  });
  return [
    entry(row.opened_at, `"${row.title}" is asked${needed > 1 ? ` of ${needed} persons` : ''}`),
    ...(row.escalated_at === null
      ? []
      : [entry(row.escalated_at, `"${row.title}" is escalated: nobody decided in time`)]),
    ...answers
      .filter((a) => a.accepted_at !== null)
      .map((a) =>
        entry(
          a.at,
          `${a.person} ${a.answer === 'approve' ? 'approved' : 'rejected'} "${row.title}"`,
          a.reason ?? undefined,
        ),
      ),
    ...(row.closed_at === null ? [] : [entry(row.closed_at, `"${row.title}" ${row.status}`, row.reason ?? undefined)]),
  ];
}

/** The form as the schema takes it, with its defaults; only an approval fills it in. */
export function checkedForm(
  row: Pick<ApprovalRow, 'form'>,
  answer: 'approve' | 'reject',
  form: Json | undefined,
): Json | undefined {
  if (row.form === null) {
    if (form === undefined) return undefined;
    throw new OpsError('validation', 'This approval has no form', {
      errors: [{ pointer: '/form', message: 'is not asked for; leave it out' }],
    });
  }
  if (answer === 'reject') return form;
  const { errors, value } = validateInput(row.form, form);
  if (errors.length === 0) return value;
  const placed = errors.map(({ pointer, message }) => ({ pointer: `/form${pointer}`, message }));
  throw new OpsError('validation', `The form: ${placed[0]!.pointer} ${placed[0]!.message}`, { errors: placed });
}
