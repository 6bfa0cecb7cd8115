/** The report of an incident, in Markdown: what its reader asks first stands first. Nothing in it was not stored. */
import type { IncidentView, RunView, TimelineEntry } from '@opsloop/contracts';

export interface RunStory {
  run: RunView;
  timeline: readonly TimelineEntry[];
  ended: boolean;
}

/** Kinds of a run's own timeline that its incident does not tell already. */
const OF_RUN: readonly TimelineEntry['kind'][] = ['admission', 'lock', 'step', 'approval', 'operator', 'run'];

const ENDINGS: Readonly<Record<string, string>> = {
  converged: 'It was healed: the goal was observed.',
  exhausted: 'It was not healed by what the rules could try; a person had to take over.',
  withdrawn: 'It was given up before it was healed: the cause was gone, or the rule was switched off.',
};

export function reportOf(incident: IncidentView, runs: readonly RunStory[]): string {
  const lines: string[] = [`# ${text(incident.title)}`, ''];
  lines.push(...summary(incident, runs), '', '## What happened', '', ...story(incident, runs), '');
  lines.push('## Resources', '', '| Resource | Rule | Outcome | Attempts | Took | Why |', '|---|---|---|---|---|---|');
  for (const one of incident.episodeList)
    lines.push(
      row(
        one.resource,
        `${one.rule} ${one.version}`,
        one.state,
        one.attempts,
        took(one.openedAt, one.changedAt),
        one.reason ?? '',
      ),
    );
  if (runs.length > 0) {
    lines.push('', '## Runs', '', '| Run | Flow | Status | Started | Took |', '|---|---|---|---|---|');
    for (const { run } of runs)
      lines.push(
        row(run.id, `${run.flow} ${run.version}`, run.status, run.startedAt ?? '', took(run.startedAt, run.endedAt)),
      );
  }
  return `${lines.join('\n')}\n`;
}

function summary(incident: IncidentView, runs: readonly RunStory[]): string[] {
  const { counts, openedAt, closedAt, story } = incident;
  const people = new Set(runs.flatMap(({ run }) => (run.acts ?? []).map((act) => act.by)));
  const first = story.find((entry) => entry.kind === 'event');
  const started = story.find((entry) => entry.kind === 'run');
  const open = incident.state === 'open';
  return [
    open ? 'It is still open.' : (ENDINGS[incident.outcome ?? ''] ?? 'It is closed.'),
    '',
    `- **Incident** ${incident.id}, tier ${incident.tier}`,
    `- **Opened** ${openedAt}${closedAt === undefined ? '' : `, **closed** ${closedAt} (${took(openedAt, closedAt)})`}`,
    ...(first === undefined ? [] : [`- **First sign** ${first.at}: ${text(first.title)}`]),
    ...(started === undefined || first === undefined
      ? []
      : [`- **First action** ${started.at}, ${took(first.at, started.at)} after the first sign`]),
    `- **Extent** ${counts.resources} resources, ${counts.episodes} episodes: ${counts.converged} healed, ${counts.exhausted} not healed, ${counts.withdrawn} withdrawn, ${counts.open} open`,
    `- **Rules** ${incident.rules.map(text).join(', ')}`,
    `- **People** ${people.size === 0 ? 'nobody had to step in' : [...people].map(text).join(', ')}`,
  ];
}

/** Both stories in one order; of a run only what its incident does not tell. */
function story(incident: IncidentView, runs: readonly RunStory[]): string[] {
  const own = runs.flatMap(({ run, timeline }) =>
    timeline
      .filter(({ kind }) => OF_RUN.includes(kind))
      .map((entry) => ({ ...entry, title: `${run.flow}: ${entry.title}` })),
  );
  // Where control tells a run in its steps, its start and end stand there.
  const told = new Set(runs.filter(({ timeline }) => timeline.length > 0).map(({ run }) => run.id));
  const entries = [...incident.story.filter(({ kind, ref }) => kind !== 'run' || !told.has(ref ?? '')), ...own];
  return entries
    .sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0))
    .map(({ at, kind, title }) => `- ${at} **${kind}** ${text(title)}`);
}

/** Data of events must not become structure of the page. */
function text(value: string): string {
  return value.replaceAll(/[\r\n]+/g, ' ').replaceAll(/[\\`*_{}[\]<>#|!]/g, '\\$&');
}

function row(...cells: (string | number)[]): string {
  return `| ${cells.map((cell) => text(String(cell))).join(' | ')} |`;
}

/** `1h 2m`, `45s`: two units are enough for a report. */
export function took(from: string | undefined, until: string | undefined): string {
  if (from === undefined || until === undefined) return '';
  const seconds = Math.max(0, Math.round((Date.parse(until) - Date.parse(from)) / 1_000));
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3_600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ];
  const shown = parts.filter(([n]) => n > 0).slice(0, 2);
  return shown.length === 0 ? '0s' : shown.map(([n, unit]) => `${n}${unit}`).join(' ');
}
