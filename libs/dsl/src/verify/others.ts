/** Documents that are neither flow, atom nor rule. */
import { pathProblem, type FlowDocument, type Json, type JsonObject, type TableDocument } from '@opsloop/contracts';
import { finding, pointerTo, type Finding } from '@opsloop/rules';
import { checkTemplate } from '../checks.js';
import { isObject } from '../normalise.js';
import { stepsOf } from '../walk.js';
import { ENVIRONMENT_CONFIG, environmentFindings } from './environment.js';
import { quorum, sameTwice } from './graph.js';
import { found, isLost } from './model.js';
import { workFindings } from './rule.js';
import { duties } from './safety.js';
import { near } from '../near.js';
import { hitFindings } from './table.js';
import { windowFindings } from './windows.js';
import type { World } from './world.js';

export function resourceFindings(doc: JsonObject): Finding[] {
  const places: [string, Json | undefined][] = [['/path', doc['path']]];
  if (isObject(doc['retired']) && doc['retired']['replacedBy'] !== undefined)
    places.push(['/retired/replacedBy', doc['retired']['replacedBy']]);
  for (const member of ['memberOf', 'dependsOn'])
    (doc[member] as Json[] | undefined)?.forEach((path, i) => places.push([`/${member}/${i}`, path]));
  const findings = places.flatMap(([pointer, path]) => {
    const problem = pathProblem(path as string);
    return problem === undefined ? [] : [finding('OPS1008', pointer, `"${String(path).slice(0, 80)}" ${problem}`)];
  });
  const seen = new Set<string>();
  for (const [pointer, path] of places.slice(1)) {
    if (path === doc['path']) findings.push(found('OPS1073', pointer, 'is the resource itself'));
    const key = `${pointer.split('/')[1]} ${String(path)}`;
    if (seen.has(key)) findings.push(found('OPS1053', pointer, `"${String(path)}" stands there already`));
    seen.add(key);
  }
  return findings;
}

export function scheduleFindings(doc: JsonObject, world: World): Finding[] {
  const findings: Finding[] = [];
  const times = ['cron', 'rrule', 'every'].filter((key) => doc[key] !== undefined);
  if (times.length !== 1)
    findings.push(
      finding(
        'OPS1009',
        times.length === 0 ? '/cron' : `/${times[1]}`,
        'a schedule has exactly one of cron, rrule, every',
      ),
    );
  const kinds = ['run', 'call'].filter((key) => doc[key] !== undefined);
  if (kinds.length !== 1)
    findings.push(finding('OPS1009', kinds.length === 0 ? '/run' : '/call', 'a schedule has exactly one of run, call'));
  else findings.push(...workFindings(world, work(doc), ''));
  findings.push(...zoneFindings(doc['zone'], '/zone'), ...rruleFindings(doc['rrule'], '/rrule'));
  if (typeof doc['cron'] === 'string') {
    const problem = cronProblem(doc['cron']);
    if (problem !== undefined) findings.push(found('OPS1063', '/cron', problem));
  }
  return findings;
}

const CRON: readonly [string, number, number, readonly string[]][] = [
  ['minute', 0, 59, []],
  ['hour', 0, 23, []],
  ['day', 1, 31, []],
  ['month', 1, 12, ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']],
  ['weekday', 0, 7, ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']],
];

/** Five fields of numbers, names, ranges, lists and steps; `@daily` and its like. */
export function cronProblem(text: string): string | undefined {
  if (/^@(yearly|annually|monthly|weekly|daily|midnight|hourly)$/.test(text)) return undefined;
  const fields = text.trim().split(/\s+/);
  if (fields.length !== 5) return `has ${fields.length} fields; minute, hour, day, month and weekday are five`;
  for (const [i, [name, low, high, names]] of CRON.entries()) {
    for (const part of fields[i]!.toLowerCase().split(',')) {
      const [range = '', step] = part.split('/', 2);
      const ends = range === '*' || range === '?' ? [] : range.split('-', 2);
      const numbers = ends.map((end) => {
        const at = names.indexOf(end);
        return at >= 0 ? at + (name === 'month' ? 1 : 0) : /^\d{1,2}$/.test(end) ? Number(end) : Number.NaN;
      });
      const wrong =
        numbers.some((n) => !(n >= low && n <= high)) || (numbers.length === 2 && numbers[0]! > numbers[1]!);
      if (wrong || (step !== undefined && !/^[1-9]\d{0,2}$/.test(step)))
        return `"${part}" is no ${name} (${low} to ${high})`;
    }
  }
  return undefined;
}

function zoneFindings(zone: Json | undefined, pointer: string): Finding[] {
  if (typeof zone !== 'string') return [];
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return [];
  } catch {
    return [found('OPS1061', pointer, `"${zone}" is no time zone`)];
  }
}

const RRULE: ReadonlySet<string> = new Set([
  ...['FREQ', 'UNTIL', 'COUNT', 'INTERVAL', 'BYSECOND', 'BYMINUTE', 'BYHOUR', 'BYDAY', 'BYMONTHDAY', 'BYYEARDAY'],
  ...['BYWEEKNO', 'BYMONTH', 'BYSETPOS', 'WKST'],
]);
const FREQUENCIES: ReadonlySet<string> = new Set([
  'SECONDLY',
  'MINUTELY',
  'HOURLY',
  'DAILY',
  'WEEKLY',
  'MONTHLY',
  'YEARLY',
]);

function rruleFindings(rule: Json | undefined, pointer: string): Finding[] {
  if (typeof rule !== 'string') return [];
  const parts = rule
    .replace(/^RRULE:/, '')
    .split(';')
    .map((part) => part.split('=', 2) as [string, string | undefined]);
  const bad = parts.find(([key, value]) => !RRULE.has(key) || value === undefined || value === '');
  if (bad !== undefined) return [found('OPS1062', pointer, `"${bad[0].slice(0, 40)}" is no member of a recurrence`)];
  const freq = parts.find(([key]) => key === 'FREQ')?.[1];
  if (freq === undefined || !FREQUENCIES.has(freq))
    return [found('OPS1062', pointer, freq === undefined ? 'has no FREQ' : `"${freq.slice(0, 40)}" is no frequency`)];
  return [];
}

export function tableFindings(doc: JsonObject): Finding[] {
  const rows = doc['rows'] as JsonObject[];
  const findings: Finding[] = [];
  const early = rows.findIndex((row, i) => row['when'] === undefined && i < rows.length - 1);
  if (early >= 0 && doc['hit'] !== 'collect')
    findings.push(
      finding(
        'OPS1103',
        `/rows/${early}`,
        'a row without "when" matches always; the rows after it are never reached',
        'make it the last row',
      ),
    );
  if (doc['hit'] !== 'collect') findings.push(...sameTwice(rows as { when?: Json }[], '/rows'));
  // Mistakes above explain themselves better than a witness of them would.
  return findings.length > 0 ? findings : hitFindings(doc as unknown as TableDocument);
}

export function maintenanceFindings(doc: JsonObject): Finding[] {
  return isObject(doc['during']) ? windowFindings(doc['during'], '/during') : [];
}

export function policyFindings(doc: JsonObject, world: World): Finding[] {
  const findings = checkTemplate(doc['by'], '/by');
  ((doc['locks'] as JsonObject[] | undefined) ?? []).forEach((lock, i) =>
    findings.push(...checkTemplate(lock['path'], `/locks/${i}/path`)),
  );
  if (doc['type'] === 'approval') findings.push(...quorum(doc, ''), ...duties(doc, ''));
  const { during, then } = doc;
  if (isObject(during)) findings.push(...duringFindings(during));
  if (doc['type'] === 'storm' && isObject(then)) {
    const kinds = ['run', 'call'].filter((key) => then[key] !== undefined);
    if (kinds.length !== 1)
      findings.push(
        finding('OPS1009', kinds.length === 0 ? '/then/run' : '/then/call', 'a storm starts exactly one of run, call'),
      );
    else findings.push(...workFindings(world, work(then), '/then'));
  }
  if (doc['type'] === 'storm' && doc['unhealthy'] !== undefined) {
    const percent = Number.parseInt(doc['unhealthy'] as string, 10);
    if (percent < 1 || percent > 100)
      findings.push(found('OPS1064', '/unhealthy', `${percent}% is never just reached`));
  }
  if (doc['type'] === 'blast-radius' && doc['max'] === undefined && doc['percent'] === undefined)
    findings.push(
      found('OPS1064', '/max', 'neither max nor percent is set, so everything passes', 'add "max" or "percent"'),
    );
  if (doc['type'] === 'mutex' && Array.isArray(doc['locks']) && doc['locks'].length === 0)
    findings.push(found('OPS1064', '/locks', 'adds no lock'));
  return findings;
}

function duringFindings(during: JsonObject): Finding[] {
  const findings = [
    ...zoneFindings(during['zone'], '/during/zone'),
    ...rruleFindings(during['rrule'], '/during/rrule'),
  ];
  const time = (key: string): number | undefined =>
    typeof during[key] === 'string' ? Date.parse(during[key]) : undefined;
  for (const key of ['from', 'until'])
    if (Number.isNaN(time(key) ?? 0)) findings.push(found('OPS1609', `/during/${key}`, 'is no ISO 8601 time'));
  const [from, until] = [time('from'), time('until')];
  if (from !== undefined && until !== undefined && until <= from)
    findings.push(found('OPS1064', '/during/until', 'ends before it begins'));
  const clock = during['start'];
  if (typeof clock === 'string' && !/^([01]\d|2[0-3]):[0-5]\d$/.test(clock))
    findings.push(found('OPS1609', '/during/start', `"${clock}" is no time of day`, 'write 18:00'));
  if (during['rrule'] !== undefined && during['for'] === undefined)
    findings.push(
      finding('OPS1009', '/during/for', 'a recurrence says when it begins; "for" says how long it lasts', 'add "for"'),
    );
  if (during['rrule'] === undefined && during['from'] === undefined && during['until'] === undefined)
    findings.push(
      finding('OPS1009', '/during', 'names no time', 'add "rrule" with "start" and "for", or "from" and "until"'),
    );
  return findings;
}

/** Last words of names whose values are usually secret. */
const SECRET_NAME = /(^|[-_.])(password|passwd|secret|token|apikey|api[-_]key|private[-_]?key|credential)s?$/i;

export function configFindings(doc: JsonObject): Finding[] {
  const findings: Finding[] = [];
  const visit = (value: Json, pointer: string, key: string): void => {
    if (typeof value === 'string') {
      if (value.includes('${')) findings.push(found('OPS1072', pointer, 'holds "${", which stays text in a config'));
      else if (value !== '' && SECRET_NAME.test(key))
        findings.push(found('OPS1071', pointer, `"${key}" looks like a secret`));
    } else if (Array.isArray(value)) value.forEach((item, i) => visit(item, pointerTo(pointer, i), key));
    else if (isObject(value))
      for (const [name, member] of Object.entries(value)) visit(member, pointerTo(pointer, name), name);
  };
  visit(doc['values'] ?? {}, '/values', '');
  if (doc['name'] === ENVIRONMENT_CONFIG) findings.push(...environmentFindings((doc['values'] ?? {}) as JsonObject));
  return findings;
}

/** A flow test against its flow: every path it names must lead to a step. */
export function flowtestFindings(doc: JsonObject, flow: FlowDocument | undefined, world: World): Finding[] {
  const ref = doc['flow'];
  if (flow === undefined)
    return typeof ref === 'string' && isLost(world, 'flow', ref)
      ? [found('OPS1011', '/flow', `no flow answers to "${ref}"`)]
      : [];
  const ids = new Set([...stepsOf(flow)].map(({ step }) => step.id));
  const findings: Finding[] = [];
  const check = (path: unknown, pointer: string): void => {
    // "..." stands for any steps, and a name with dots is an atom's.
    const plain = typeof path === 'string' ? path.replaceAll(/\[[^\]]*\]/g, '') : '.';
    if (plain.includes('.')) return;
    for (const part of plain.split('/')) {
      const id = part.replace(/[[~].*$/, '').replace(/^!/, '');
      // Below a sub-flow the ids are those of another document.
      if (!ids.has(id)) {
        if (
          (part !== plain.split('/')[0] || !plain.includes('/')) &&
          [...stepsOf(flow)].some(({ step }) => 'run' in step)
        )
          return;
        findings.push(found('OPS1081', pointer, `"${String(path)}": the flow has no step "${id}"`, near(id, ids)));
        return;
      }
    }
  };
  if (isObject(doc['mocks']))
    for (const path of Object.keys(doc['mocks'])) if (!path.includes('*')) check(path, pointerTo('/mocks', path));
  const expect = isObject(doc['expect']) ? doc['expect'] : {};
  for (const member of ['path', 'compensated'])
    if (Array.isArray(expect[member])) expect[member].forEach((path, i) => check(path, `/expect/${member}/${i}`));
  return findings;
}

/** What a schedule, a storm policy or a poll starts. */
export function work(doc: JsonObject): { run?: string; call?: string; with?: Json } {
  const { run, call, with: input } = doc;
  return {
    ...(typeof run === 'string' ? { run } : {}),
    ...(typeof call === 'string' ? { call } : {}),
    ...(input === undefined ? {} : { with: input }),
  };
}
