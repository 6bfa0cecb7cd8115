import { describe, expect, it } from 'vitest';
import { withDefaults } from './defaults.pure.js';

const schema = {
  type: 'object',
  properties: {
    image: { type: 'string', default: 'base-12' },
    path: { type: 'string' },
    net: { type: 'object', properties: { mtu: { type: 'integer', default: 1_500 } } },
  },
};

describe('the input of a sub-flow', () => {
  it.each([
    [{ path: 'a' }, { path: 'a', image: 'base-12' }],
    [{ image: 'base-11' }, { image: 'base-11' }],
    [{ image: null }, { image: null }],
    [{ net: {} }, { net: { mtu: 1_500 }, image: 'base-12' }],
    [{ net: 'none' }, { net: 'none', image: 'base-12' }],
    ['text', 'text'],
  ])('%j becomes %j', (input, whole) => {
    expect(withDefaults(schema, input)).toEqual(whole);
  });

  it('stays as it is without a schema', () => {
    expect(withDefaults(undefined, { a: 1 })).toEqual({ a: 1 });
  });
});
