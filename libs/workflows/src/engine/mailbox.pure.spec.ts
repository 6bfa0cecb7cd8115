import type { FlowEvent } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import {
  CARRIED_CHARS_MAX,
  HELD_MAX,
  Mailbox,
  matchesEntry,
  type EntryMatch,
  type Subscription,
} from './mailbox.pure.js';

const event = (id: number, patch: Partial<FlowEvent> = {}): FlowEvent => ({
  eventId: `e${id}`,
  id: `${id}`,
  source: 's',
  type: 'a.up',
  time: 't',
  data: {},
  ...patch,
});
const sub = (id: string, patch: Partial<Subscription> = {}): Subscription => ({
  id,
  mode: 'take',
  entries: [{ type: 'a.*' }],
  open: [0],
  all: false,
  conditional: true,
  ...patch,
});

describe('who gets which event', () => {
  it('the wait that stands longest; what comes back is offered to the next, never to the same again', () => {
    const box = new Mailbox();
    box.subscribe(sub('one'));
    box.subscribe(sub('two'));
    const [offer] = box.add(event(1));
    expect(offer).toMatchObject({ sub: { id: 'one' }, entry: 0 });
    expect(box.add(event(1))).toEqual([]);
    expect(box.giveBack('one', offer!.held, 0)).toMatchObject([{ sub: { id: 'two' }, held: { seq: 1 } }]);
    expect(box.add(event(2))).toMatchObject([{ sub: { id: 'one' } }]);
  });

  it('keeps the order of arrival also of what comes back', () => {
    const box = new Mailbox();
    box.subscribe(sub('one'));
    const [first] = box.add(event(1));
    box.add(event(2));
    box.drop('one');
    box.giveBack('one', first!.held);
    expect(box.subscribe(sub('late')).map((offer) => offer.held.event.eventId)).toEqual(['e1']);
  });

  it('wakes everybody and leaves the event to whoever takes it', () => {
    const box = new Mailbox();
    box.subscribe(sub('wake', { mode: 'wake' }));
    box.subscribe(sub('take'));
    expect(box.add(event(1)).map((offer) => offer.sub.id)).toEqual(['wake', 'take']);
  });
});

describe('what is kept', () => {
  it('is bounded by number; the oldest go', () => {
    const box = new Mailbox();
    for (let i = 0; i <= HELD_MAX; i += 1) box.add(event(i));
    expect(box.dropped).toBe(1);
    expect(box.subscribe(sub('w'))[0]!.held.event.eventId).toBe('e1');
  });

  it('travels as far as it fits, before what has come since', () => {
    const box = new Mailbox();
    const data = 'x'.repeat(CARRIED_CHARS_MAX / 2);
    for (let i = 1; i <= 3; i += 1) box.add(event(i, { data }));
    expect(box.isHeavy).toBe(true);
    const carried = box.carry();
    expect([carried.held.map(([, one]) => one.eventId), carried.dropped]).toEqual([['e3'], 2]);
    const next = new Mailbox();
    next.add(event(4));
    next.add(event(3));
    next.restore(carried);
    const all = next.subscribe(
      sub('w', { all: true, entries: [{ type: '*' }, { type: '*' }, { type: '*' }], open: [0, 1, 2] }),
    );
    expect(all.map((offer) => offer.held.event.eventId)).toEqual(['e3', 'e4']);
  });
});

it.each<[EntryMatch, Partial<FlowEvent>, boolean]>([
  [{ type: 'a.up' }, {}, true],
  [{ type: 'a.*' }, { type: 'b.up' }, false],
  [{ type: '*' }, { type: 'opsloop.run.closed' }, false],
  [{ type: 'opsloop.run.closed' }, { type: 'opsloop.run.closed' }, true],
  [{ type: '*', source: 'web-*' }, { source: 'db-1' }, false],
  [{ type: '*', subject: 'host/*' }, {}, false],
  [{ type: '*', subject: 'host/*' }, { subject: 'host/a' }, true],
  [{ type: '*', correlate: { a: { b: 1 } } }, { data: { a: { b: 1, c: 2 } } }, true],
  [{ type: '*', correlate: { a: [1, 2] } }, { data: { a: [1, 2] } }, true],
  [{ type: '*', correlate: { a: [1, 2] } }, { data: { a: 1 } }, false],
  [{ type: '*', correlate: { a: null } }, { data: {} }, false],
  [{ type: '*', data: { a: [1, 2] } }, { data: { a: 2 } }, true],
  [{ type: '*', data: { a: 1 } }, { data: [1] }, false],
  [{ type: '*', data: { toString: 1 } }, { data: {} }, false],
])('%j fits %j: %s', (entry, patch, fits) => expect(matchesEntry(entry, event(1, patch))).toBe(fits));
