import {
  answerRefusal,
  type ApprovalPerson,
  type Approvers,
  type EventMessage,
  type FlowEvent,
} from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { EVENT_DATA_CHARS_MAX, flowEventOf, signalBatch } from '../deliver-events/flow-event.pure.js';

const bob: ApprovalPerson = { kind: 'token', name: 'bob', groups: ['sre'] };
const initiator = { kind: 'token', name: 'anna' } as const;

it.each<[Approvers, ApprovalPerson, RegExp | undefined]>([
  [{}, bob, undefined],
  [{ groups: ['sre'] }, bob, undefined],
  [{ groups: ['dba'] }, bob, /needs group dba; bob is in group sre/],
  [{ users: ['bob'], groups: ['dba'] }, bob, undefined],
  [{ users: ['zoe'] }, { ...bob, admin: true }, /needs user zoe/],
  [{ groups: ['dba'] }, { ...bob, groups: [], admin: true }, undefined],
  [{ excludeInitiator: true }, { ...bob, name: 'anna' }, /started the run/],
  [{ excludeInitiator: true }, { ...bob, name: 'anna', kind: 'user' }, undefined],
  [{}, { kind: 'service', name: 'opsloop', groups: [] }, /only people/],
])('%j, %j → %s', (approvers, person, why) => {
  const said = answerRefusal(approvers, initiator, person);
  if (why === undefined) expect(said).toBeUndefined();
  else expect(said).toMatch(why);
});

describe('events for flows', () => {
  const message = (patch: Partial<EventMessage>): EventMessage => ({
    eventId: 'e',
    source: 's',
    id: '1',
    type: 't',
    time: 'now',
    receivedAt: 'now',
    data: { a: 1 },
    correlationId: 'c',
    hops: 0,
    ...patch,
  });

  it('leaves out rehearsals, and data that is too large', () => {
    expect(flowEventOf(message({ replayOf: 'x' }))).toBeUndefined();
    expect(flowEventOf(message({ replayOf: 'x', replayMode: 'active' }))).toMatchObject({ data: { a: 1 } });
    expect(flowEventOf(message({ data: 'x'.repeat(EVENT_DATA_CHARS_MAX) }))).toMatchObject({
      data: null,
      dataOmitted: true,
    });
  });

  it('fills a signal up to its size, with at least one', () => {
    const body = (n: number): { body: FlowEvent } => ({ body: flowEventOf(message({ data: 'x'.repeat(n) }))! });
    expect(signalBatch([body(500), body(10), body(10)], 300)).toHaveLength(1);
    expect(signalBatch([body(10), body(10), body(500)], 400)).toHaveLength(2);
    expect(signalBatch([], 300)).toEqual([]);
  });
});
