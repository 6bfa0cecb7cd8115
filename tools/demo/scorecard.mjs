// What happened, counted at the processes and asked of the API, beside what the usual way did to the same fleet.
import { VICTIMS } from './cast.mjs';
import { bold, green, red } from './screen.mjs';

/** Each line: what must hold, whether it did, and the figure. */
export function judge(facts) {
  const { acts, doubles, runs, decision } = facts;
  const batches = decision.batches.map((b) => b.length);
  return [
    line('all 12 healthy', facts.healthy === 12, `${facts.healthy} of 12`),
    line(
      'canary first, alone',
      facts.canary && batches[0] === 1 && batches.length > 1,
      `${String(facts.canary).split('/').pop()}, then batches of ${batches.slice(1).join(', ')}`,
    ),
    line('never two works on one host', acts.overlaps === 0, `${acts.overlaps} overlaps`),
    line(
      'doubles started nothing',
      doubles.duplicates === doubles.sent && doubles.sent >= VICTIMS.length,
      `${doubles.duplicates} of ${doubles.sent} absorbed`,
    ),
    line(
      'halt within 2 s, no mutation inside',
      facts.haltMutations === 0 && facts.haltLastMs <= 2_000,
      `last ${facts.haltLastMs} ms, then ${facts.haltMutations}`,
    ),
    line('the arriving event was explained as held', facts.explainedAsHeld, facts.explainedAsHeld ? 'yes' : 'no'),
    line(
      'withdrawn when the cause was gone',
      runs.some((r) => r.admission.verdict === 'withdrawn'),
      `${runs.filter((r) => r.admission.verdict === 'withdrawn').length}`,
    ),
    line(
      'the rival waited and knew for whom',
      facts.rival.admission.blockedBy.length > 0,
      `behind ${facts.holder.flow ?? facts.holder.owner}`,
    ),
    line('the liar was found and replaced', facts.liarReplaced !== undefined, facts.liar.split('/').pop()),
    line(
      'every decision has its why',
      facts.whys.length > 0 && facts.whys.every((w) => w.text.length > 0),
      `${facts.whys.length}`,
    ),
  ];
}

const line = (what, held, figure) => ({ what, held: Boolean(held), figure });

export function printScorecard(facts, verdict) {
  const { naive, acts, journal } = facts;
  const handled = acts.restarts + acts.replaces;
  const rows = [
    ['', 'alert → script', 'opsloop'],
    [
      'acts for dead hosts',
      `${naive.scripts} for ${naive.incidents}`,
      `${handled - facts.handActs} for 6, one of them healed by hand`,
    ],
    ['copies acted on', naive.copiesActedOn, 0],
    ['two works on one host', naive.overlaps, acts.overlaps],
    ['exit 0 but still sick', naive.exitZeroButSick, 0],
    ['still broken at the end', naive.stillBroken.length, 12 - facts.healthy],
  ];
  const out = [`\n${bold('Scorecard')} (counted at the processes: ${journal.lines} lines of their journal)\n`];
  for (const [name, a, b] of rows) out.push(`  ${String(name).padEnd(26)}${String(a).padEnd(18)}${b}`);
  out.push('');
  for (const v of verdict) out.push(`  ${v.held ? green('✔') : red('✘')} ${v.what.padEnd(44)}${v.figure}`);
  out.push(`\n  healed in ${((facts.healedAt - facts.killedAt) / 1000).toFixed(0)} s, the halt included`);
  process.stdout.write(`${out.join('\n')}\n`);
}
