import { durationMs, type AtomDocument, type JobSpec } from '@opsloop/contracts';
import { finding, type Finding } from '@opsloop/rules';
import { checkRef, checkTemplate } from './checks.js';

/** More often, the polls of a hundred jobs would be most of what a worker does. */
const POLL_MS_MIN = 100;
/** An older answer is no observation; whoever wants to keep one for longer keeps a resource. */
const CACHE_MS_MAX = 3_600_000;

/** `job`: its calls belong to the form without a worker, and each of them needs its place to go. */
export function jobFindings({ job, worker, script, http, execution }: AtomDocument): Finding[] {
  if (job === undefined) return [];
  const findings = [...jobTemplateFindings(job)];
  const say = (pointer: string, message: string, hint: string): void =>
    void findings.push(finding('OPS1024', pointer, message, hint));
  if (execution === 'local') say('/execution', 'a job outlives its call, so it cannot be local', 'remove "execution"');
  if (job.poll.every !== undefined && durationMs(job.poll.every) < POLL_MS_MIN)
    say('/job/poll/every', 'polls are at least 100ms apart', 'write 100ms or more');
  if (worker !== undefined) {
    const { start, poll, cancel } = job;
    if (start !== undefined) say('/job/start', 'the worker starts the job', 'remove "start"');
    for (const [name, call] of [
      ['poll', poll],
      ['cancel', cancel],
    ] as const)
      for (const member of Object.keys(call ?? {}).filter((key) => !(name === 'poll' && key === 'every')))
        say(`/job/${name}/${member}`, `the worker's own ${name} activity does this`, `remove "${member}"`);
    return findings;
  }
  if (http !== undefined || script !== undefined) return findings;
  if (job.start === undefined) say('/job/start', 'is required without a worker', 'say which call starts the job');
  for (const [name, call] of [
    ['poll', job.poll],
    ['cancel', job.cancel],
  ] as const)
    if (call !== undefined && call.url === undefined)
      say(`/job/${name}/url`, 'is required without a worker', 'say where to call; ${job.id} is the id of the job');
  if (job.poll.done === undefined)
    say('/job/poll/done', 'is required without a worker', "say when the job has ended: response.body.state == 'done'");
  return findings;
}

function jobTemplateFindings({ start, poll, cancel }: JobSpec): Finding[] {
  const calls = { start, poll, cancel };
  return [
    ...Object.entries(calls).flatMap(([name, call]) => [
      ...checkTemplate(call?.url, `/job/${name}/url`, 'allowed'),
      ...checkTemplate(call?.query, `/job/${name}/query`, 'allowed'),
      ...checkTemplate(call?.headers, `/job/${name}/headers`, 'allowed'),
      ...checkTemplate(call?.body, `/job/${name}/body`, 'allowed'),
    ]),
    ...checkTemplate(start?.id, '/job/start/id'),
    ...checkTemplate(poll.output, '/job/poll/output'),
    ...checkTemplate(poll.progress, '/job/poll/progress'),
  ];
}

/** `cache`: only what changes nothing may be answered from memory. */
export function cacheFindings({ cache, effect, job }: AtomDocument): Finding[] {
  if (cache === undefined) return [];
  const findings = [...checkTemplate(cache.key, '/cache/key')];
  if (effect !== 'read')
    findings.push(
      finding('OPS1025', '/cache', 'only an atom that reads may be answered from memory', 'remove "cache"'),
    );
  if (job !== undefined)
    findings.push(finding('OPS1025', '/cache', 'the end of a job is not kept', 'remove "cache" or "job"'));
  const ttl = durationMs(cache.ttl);
  if (ttl < 1 || ttl > CACHE_MS_MAX)
    findings.push(finding('OPS1025', '/cache/ttl', 'an answer is kept for 1ms to 1h', 'write at most 1h'));
  return findings;
}

/** `verify`: the counting atom is named like any other. */
export function verifyFindings({ verify }: AtomDocument): Finding[] {
  if (verify?.count === undefined) return [];
  return [
    ...checkRef(verify.count.call, 'atom', '/verify/count/call'),
    ...checkTemplate(verify.count.with, '/verify/count/with'),
    ...checkTemplate(verify.count.value, '/verify/count/value'),
  ];
}
