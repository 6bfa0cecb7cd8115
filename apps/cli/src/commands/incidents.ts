import { writeFile } from 'node:fs/promises';
import type { TimelineEntry } from '@opsloop/contracts';
import { FINAL_RUN_STATUSES } from '@opsloop/contracts';
import type { Command } from 'commander';
import { contextOf } from '../context.js';
import type { Context } from '../context.js';
import { shortTime } from '../output.js';
import type { Streams } from '../output.js';
import { reportOf } from './report.pure.js';
import type { RunStory } from './report.pure.js';

interface ListOptions {
  state?: string;
  rule?: string;
  under?: string;
  tier?: string;
  since?: string;
  limit: string;
}

/** Runs whose own story stands in a report; a longer one is a book. */
const RUNS_MAX = 50;

export function registerIncidents(program: Command, streams: Streams): void {
  const incidents = program.command('incidents').description('episodes that belong together');
  incidents
    .command('ls')
    .description('newest first')
    .option('--state <state>', 'open or closed')
    .option('--rule <name>')
    .option('--under <path>', 'about this resource or one below it')
    .option('--tier <tier>', 'P0 to P4')
    .option('--since <time>', 'opened since')
    .option('--limit <n>', 'most items', '20')
    .action((options: ListOptions, command: Command) => list(contextOf(command, streams), options));
  incidents
    .command('show')
    .description('one incident: episodes and what happened, in its order')
    .argument('<id>')
    .action((id: string, _options: object, command: Command) => show(contextOf(command, streams), id));
  program
    .command('report')
    .description('the story of an incident in Markdown, from what was stored')
    .argument('<incident>', 'its id; "opsloop incidents ls" lists them')
    .option('-o, --output <file>', 'write it there instead of printing it')
    .action((id: string, options: { output?: string }, command: Command) =>
      report(contextOf(command, streams), id, options.output),
    );
}

async function list(context: Context, options: ListOptions): Promise<void> {
  const query = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const page = await context.client().listIncidents(query);
  const { out } = context;
  out.result(page, () => {
    if (page.items.length === 0) out.line('no incidents');
    else
      out.table(
        ['ID', 'STATE', 'TIER', 'OPENED', 'CLOSED', 'EPISODES', 'WHAT'],
        page.items.map((one) => [
          one.id,
          one.outcome ?? one.state,
          one.tier,
          shortTime(one.openedAt),
          shortTime(one.closedAt),
          one.counts.episodes,
          one.title,
        ]),
      );
    const first = page.items[0];
    out.next(...(first === undefined ? ['opsloop status'] : [`opsloop incidents show ${first.id}`]));
  });
}

async function show(context: Context, id: string): Promise<void> {
  const incident = await context.client().getIncident(id);
  const { out } = context;
  out.result(incident, () => {
    out.line(`${incident.title}: ${incident.outcome ?? incident.state}, ${incident.tier}`);
    out.table(
      ['RESOURCE', 'RULE', 'STATE', 'RUNG', 'ATTEMPTS', 'WHY'],
      incident.episodeList.map((one) => [one.resource, one.rule, one.state, one.rung, one.attempts, one.reason]),
    );
    for (const { at, title } of incident.story) out.line(`${shortTime(at)}  ${title}`);
    out.next(`opsloop report ${id}`);
  });
}

async function report(context: Context, id: string, file: string | undefined): Promise<void> {
  const client = context.client();
  const incident = await client.getIncident(id);
  const ids = [
    ...new Set(incident.decisions.flatMap(({ admissions }) => admissions.flatMap((one) => one.runId ?? []))),
  ];
  const runs: RunStory[] = [];
  for (const run of ids.slice(0, RUNS_MAX)) {
    // A run that control no longer keeps leaves its line in the story of the incident.
    const view = await client.getRun(run).catch(() => undefined);
    if (view === undefined) continue;
    const timeline = await client.timeline(run).catch(() => ({ items: [] as TimelineEntry[] }));
    runs.push({ run: view, timeline: timeline.items, ended: FINAL_RUN_STATUSES.includes(view.status) });
  }
  const markdown = reportOf(incident, runs);
  const { out } = context;
  if (file !== undefined) await writeFile(file, markdown);
  out.result({ incident: id, ...(file === undefined ? { markdown } : { file }) }, () => {
    if (file === undefined) out.line(markdown.trimEnd());
    else out.line(`written to ${file}`);
  });
}
