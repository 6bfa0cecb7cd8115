import type { Json, StartRequest } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { withDefaults } from './plan.pure.js';

const schema = {
  type: 'object',
  required: ['host'],
  properties: { host: { type: 'string' }, days: { type: 'integer', default: 7 } },
};
const start = (more: Partial<StartRequest>): StartRequest => ({ input: {}, ...more }) as StartRequest;

describe('withDefaults', () => {
  it('a start of a rule gets the defaults that a start by hand gets', () => {
    expect(withDefaults(start({ input: { host: 'a' } }), schema).input).toEqual({ host: 'a', days: 7 });
  });
  it('each target of a start per target gets them, and the start itself needs no input', () => {
    const items: { path: string; input: Json }[] = [
      { path: 'host/a', input: { host: 'a' } },
      { path: 'host/b', input: { host: 'b', days: 1 } },
    ];
    const { perTarget } = withDefaults(start({ perTarget: { items, batches: [] } }), schema);
    expect(perTarget?.items.map(({ input }) => input)).toEqual([
      { host: 'a', days: 7 },
      { host: 'b', days: 1 },
    ]);
  });
  it('names what does not fit', () => {
    expect(() => withDefaults(start({ input: { days: 'x' } }), schema)).toThrow(/\/input\/host is required/);
  });
});
