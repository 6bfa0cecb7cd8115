/** What Temporal's own pages show of a run: where it stands, in the words of its flow. */
import type { RunContext, StepRecord } from '@opsloop/contracts';

/** A page of steps; a forEach may have 500 items under way. */
const SHOWN_MAX = 30;
/** The server refuses details above 20,000 bytes; 5,000 characters are at most that, and more than a screen. */
const CHARS_MAX = 5_000;

export interface Shown {
  context: Pick<RunContext, 'run' | 'flow' | 'version' | 'tier' | 'rule' | 'targets' | 'dryRun'>;
  phase: string;
  /** One line about a long step, by full path; '' is the run itself. */
  notes: ReadonlyMap<string, string>;
  records: Iterable<StepRecord>;
}

/** The steps that have begun and not ended, those inside a block after it. */
function openSteps(records: Iterable<StepRecord>): StepRecord[] {
  const open = [...records].filter((record) => record.endedAt === undefined);
  return open.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
}

/** `call fleet.restart@1.2.0, running since …, attempt 2`: for how long, only the reader's clock knows. */
function stateOf(record: StepRecord): string {
  const { verb, atom, status, attempts, startedAt, workflowId, jobId } = record;
  return [
    atom === undefined ? verb : `${verb} ${atom}`,
    `${status} since ${startedAt}`,
    ...(attempts > 1 ? [`attempt ${attempts}`] : []),
    ...(workflowId === undefined ? [] : [`workflow ${workflowId}`]),
    ...(jobId === undefined ? [] : [`job ${jobId}`]),
  ].join(', ');
}

/** What the page of a run says on top of it. */
export function progressMarkdown({ context, phase, notes, records }: Shown): string {
  const { run, flow, version, tier, rule, targets, dryRun } = context;
  const all = [...records];
  const open = openSteps(all);
  const failed = all.filter((record) => record.status === 'failed').length;
  const about = (path: string): string => {
    const note = notes.get(path);
    return note === undefined ? '' : ` — ${note}`;
  };
  const line = (record: StepRecord): string =>
    `- \`${record.path}\`${record.title === undefined ? '' : ` ${record.title}`}: ${stateOf(record)}${about(record.path)}`;
  const own = notes.get('');
  const lines = [
    `**${flow}@${version}** is ${phase}${dryRun === true ? ' (dry run)' : ''}, ${tier}${rule === undefined ? '' : `, started by the rule ${rule}`}`,
    '',
    `Run \`${run}\`${targets.length === 0 ? '' : ` on ${targets.slice(0, 5).join(', ')}${targets.length > 5 ? ` and ${targets.length - 5} more` : ''}`}. ${all.length - open.length} steps have ended${failed === 0 ? '' : `, ${failed} of them failed`}.`,
    ...(own === undefined ? [] : ['', own]),
    ...(open.length === 0 ? [] : ['', ...open.slice(0, SHOWN_MAX).map(line)]),
    ...(open.length > SHOWN_MAX ? [`- and ${open.length - SHOWN_MAX} more`] : []),
  ];
  return lines.join('\n').slice(0, CHARS_MAX);
}

/** One frame per step that is under way: what the SDK says about promises, said about steps. */
export function stepFrames({ records, notes }: Pick<Shown, 'records' | 'notes'>): string[] {
  const open = openSteps(records);
  const frames = open.slice(0, SHOWN_MAX).map((record) => {
    const note = notes.get(record.path);
    const title = record.title === undefined ? '' : `\n    ${record.title}`;
    return `${record.path}: ${stateOf(record)}${title}${note === undefined ? '' : `\n    ${note}`}`;
  });
  if (open.length === 0) return ['no step is under way'];
  return open.length > SHOWN_MAX ? [...frames, `and ${open.length - SHOWN_MAX} more`] : frames;
}
