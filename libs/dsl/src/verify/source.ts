/** Sources: who may prove what how, what a mapping sees, and what each kind needs. */
import { durationMs, SOURCE_AUTHS, type Json, type JsonObject, type SourceType } from '@opsloop/contracts';
import { finding, type Finding, templatePaths } from '@opsloop/rules';
import { checkTemplate } from '../checks.js';
import { isObject } from '../normalise.js';
import { found } from './model.js';
import { work } from './others.js';
import { template, workFindings } from './rule.js';
import type { World } from './world.js';

const POLL = ['every', 'for', 'call', 'with', 'event'];
/** Their mappings see the fields of one alert. */
const ALERTS: readonly unknown[] = ['alertmanager', 'grafana'];

export function sourceFindings(doc: JsonObject, world: World): Finding[] {
  const findings = checkTemplate(doc['mapping'], '/mapping');
  if (isObject(doc['event'])) {
    findings.push(...checkTemplate(doc['event']['data'], '/event/data'));
    findings.push(...template(doc['event']['data'], '/event/data', ['result', 'resource', 'config']));
  }
  if (doc['type'] === 'poll') return [...findings, ...pollFindings(doc, world)];
  return [
    ...findings,
    ...others(doc, POLL, 'poll'),
    ...authFindings(doc),
    ...mappingFindings(doc),
    ...kafkaFindings(doc),
  ];
}

function pollFindings(doc: JsonObject, world: World): Finding[] {
  const findings: Finding[] = [];
  for (const member of ['every', 'for', 'call', 'event'])
    if (doc[member] === undefined)
      findings.push(finding('OPS1001', `/${member}`, 'is required of a poll source', `add "${member}"`));
  findings.push(...workFindings(world, work(doc), '', 'read'));
  findings.push(...template(doc['with'], '/with', ['resource', 'config']));
  findings.push(...others(doc, ['auth', 'mapping', 'limit', 'origins'], 'hooks'), ...kafkaFindings(doc));
  if (shorter(doc['expectEvery'], doc['every']))
    findings.push(
      found(
        'OPS1052',
        '/expectEvery',
        `an answer is expected every ${String(doc['expectEvery'])}, and it looks every ${String(doc['every'])}`,
      ),
    );
  return findings;
}

/** Members that only another kind of source reads. */
function others(doc: JsonObject, members: readonly string[], kind: string): Finding[] {
  return members
    .filter((member) => doc[member] !== undefined)
    .map((member) => {
      const hint = kind === 'poll' ? 'remove it, or set "type": "poll"' : 'remove it';
      return finding(
        'OPS1001',
        `/${member}`,
        kind === 'poll' ? 'belongs to sources of type poll' : 'is not for this type of source',
        hint,
      );
    });
}

function kafkaFindings(doc: JsonObject): Finding[] {
  if (doc['type'] === 'kafka')
    return doc['kafka'] === undefined
      ? [finding('OPS1001', '/kafka', 'is required of a kafka source', 'say "brokers" and "topic"')]
      : [];
  return others(doc, ['kafka'], 'kafka');
}

function authFindings(doc: JsonObject): Finding[] {
  const { auth } = doc;
  if (!isObject(auth)) return [];
  const allowed = SOURCE_AUTHS[doc['type'] as SourceType] as readonly unknown[];
  if (!allowed.includes(auth['type']))
    return [found('OPS1076', '/auth/type', `a ${String(doc['type'])} source proves itself by ${allowed.join(', ')}`)];
  if (auth['type'] === 'none')
    return doc['type'] === 'kafka'
      ? []
      : [found('OPS1078', '/auth/type', 'whoever reaches the address can send events')];
  return auth['type'] === 'hmac' ? hmacFindings(auth) : [];
}

function hmacFindings(auth: JsonObject): Finding[] {
  const { message, timestamp } = auth;
  if (message === undefined) return [];
  const text = String(message);
  if (!text.includes('{body}'))
    return [found('OPS1077', '/auth/message', 'does not hold {body}, so any body would pass')];
  if (text.includes('{timestamp}') === (timestamp !== undefined)) return [];
  return timestamp === undefined
    ? [found('OPS1077', '/auth/message', 'holds {timestamp}, and no header says where it is: add "timestamp"')]
    : [found('OPS1077', '/auth/message', 'does not hold {timestamp}, so anybody could write a new time')];
}

function mappingFindings(doc: JsonObject): Finding[] {
  const { mapping, type } = doc;
  if (!isObject(mapping)) return [];
  const isCloudEvents =
    type === 'cloudevents' || (type === 'kafka' && (!isObject(doc['kafka']) || doc['kafka']['format'] !== 'json'));
  if (isCloudEvents)
    return [finding('OPS1001', '/mapping', 'is not read: a CloudEvent says all of it itself', 'remove it')];
  const splits = type === 'generic' || type === 'kafka';
  if (mapping['split'] !== undefined && !splits)
    return [finding('OPS1001', '/mapping/split', 'is for sources of type generic and kafka', 'remove it')];
  const findings: Finding[] = [];
  if (!ALERTS.includes(type)) {
    const { split, ...slots } = mapping;
    const names = ['body', 'headers'];
    findings.push(...template(split, '/mapping/split', names));
    findings.push(...template(slots, '/mapping', split === undefined ? names : [...names, 'item', 'index']));
  }
  // A header is rarely part of what is signed: a delivery that somebody saw could be sent again under another id.
  const signed = isObject(doc['auth']) && doc['auth']['type'] === 'hmac';
  const { id } = mapping;
  if (signed && id !== undefined && templatePaths(id).some((path) => /^headers\b/.test(path)))
    findings.push(found('OPS1079', '/mapping/id', 'is taken from a header, which the signature does not cover'));
  return findings;
}

function shorter(a: Json | undefined, b: Json | undefined): boolean {
  return typeof a === 'string' && typeof b === 'string' && durationMs(a) < durationMs(b);
}
