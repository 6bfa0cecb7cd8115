import { describe, expect, it } from 'vitest';
import type { AcceptItem } from './message.pure.js';
import { eventKey, planGroup } from './plan-group.pure.js';
import type { AcceptRequest } from './plan-group.pure.js';

/** `a1` = id `a` with content `1`; the event id is made of both and of its request. */
function request(ids: string[], onRepeat: AcceptItem['onRepeat'] = 'conflict'): AcceptRequest {
  const items = ids.map((text): AcceptItem => {
    const [id = '', digest = ''] = text;
    const message = {
      eventId: `e-${text}-${Math.random()}`,
      source: 's',
      id,
      type: 't',
      time: '',
      receivedAt: '',
      data: null,
      correlationId: '',
      hops: 0,
    };
    return { message, text: JSON.stringify(message), digest, bytes: 1, onRepeat };
  });
  return { tenant: 'default', items };
}
/** Per request: `new`, `dup` per event, or the index of the conflict. */
function outcomes(requests: AcceptRequest[], stored: Record<string, string> = {}): (string | number)[] {
  const known = new Map(
    Object.entries(stored).map(([id, digest]) => [eventKey('s', id), { eventId: `stored-${id}`, digest }]),
  );
  return planGroup(requests, known).outcomes.map((outcome) =>
    'error' in outcome
      ? (outcome.error.options.extensions!['index'] as number)
      : outcome.accepted.map((one) => (one.duplicate ? 'dup' : 'new')).join(' '),
  );
}

describe('the plan of a group of requests', () => {
  it.each<[string, string[][], Record<string, string>, (string | number)[]]>([
    ['all new', [['a1', 'b1'], ['c1']], {}, ['new new', 'new']],
    ['stored before', [['a1']], { a: '1' }, ['dup']],
    ['stored before with other content', [['b1', 'a2']], { a: '1' }, [1]],
    ['twice in one request', [['a1', 'a1']], {}, ['new dup']],
    ['twice in one request with other content', [['a1', 'a2']], {}, [1]],
    ['in two requests', [['a1'], ['a1', 'b1']], {}, ['new', 'dup new']],
    ['in two requests with other content: the first one wins', [['a1'], ['b1', 'a2'], ['b1']], {}, ['new', 1, 'new']],
    ['a refused request leaves nothing behind for the next', [['a1', 'z2'], ['a2']], { z: '1' }, [1, 'new']],
  ])('%s', (_what, requests, stored, expected) => {
    expect(
      outcomes(
        requests.map((ids) => request(ids)),
        stored,
      ),
    ).toEqual(expected);
  });

  it('takes other content for a repeat where the sender is a hook', () => {
    expect(outcomes([request(['a2', 'b1'], 'duplicate')], { a: '1' })).toEqual(['dup new']);
  });

  it('answers a repeat with the first event id and inserts it once', () => {
    const requests = [request(['a1']), request(['a1'])];
    const plan = planGroup(requests, new Map());
    const ids = plan.outcomes.map((outcome) => ('accepted' in outcome ? outcome.accepted[0]!.eventId : ''));
    expect(ids[1]).toBe(ids[0]);
    expect(plan.inserts.map(({ request: index }) => index)).toEqual([0]);
  });
});
