import { emittedEventId } from '@opsloop/contracts/ids';
import type { EmitRequest } from '@opsloop/workflows';
import { expect, it } from 'vitest';
import { emittedEvent } from './emitted-event.pure.js';

const request: EmitRequest = {
  context: { run: 'run-1', step: 'done', key: 'ops-1', tenant: 'default', dryRun: false },
  type: 'fleet.replacement.completed',
  subject: 'fleet',
  data: { replaced: 3 },
  correlationId: 'c-1',
  hops: 2,
};

it('is the same event however often it is emitted, one hop further on', () => {
  expect(emittedEvent(request)).toEqual({
    specversion: '1.0',
    id: emittedEventId('ops-1', 'fleet.replacement.completed'),
    source: 'opsloop/run/run-1',
    type: 'fleet.replacement.completed',
    subject: 'fleet',
    datacontenttype: 'application/json',
    data: { replaced: 3 },
    correlationid: 'c-1',
    causationid: 'run-1',
    hops: 3,
  });
  expect(emittedEvent(request)).toEqual(emittedEvent(request));
});

it.each([
  [15, true],
  [16, false],
  [99, false],
])('after %i hops: emitted is %s', (hops, emitted) => {
  const act = (): unknown => emittedEvent({ ...request, hops });
  if (emitted) expect(act()).toMatchObject({ hops: hops + 1 });
  else expect(act).toThrow(/limit is 16/);
});
