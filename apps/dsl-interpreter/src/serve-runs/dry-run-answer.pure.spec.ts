import { describe, expect, it } from 'vitest';
import type { JsonObject } from '@opsloop/contracts';
import { dryRunAnswer, stubOf } from './dry-run-answer.pure.js';

describe('what a dry run answers', () => {
  const examples = [
    { input: { n: 0 } },
    { input: { n: 1 }, output: { from: 'first' } },
    { input: { n: 2 }, output: { from: 'second' } },
  ];

  it.each([
    ['the example with this input', { examples }, { n: 2 }, { output: { from: 'second' }, from: 'example' }],
    ['the first one with an output', { examples }, { n: 7 }, { output: { from: 'first' }, from: 'example' }],
    ['nothing without a schema', {}, {}, { output: {}, from: 'stub' }],
    [
      'the shape of its output',
      {
        output: {
          schema: { type: 'object', properties: { id: { type: 'string' }, n: { type: 'integer', minimum: 3 } } },
        },
      },
      {},
      { output: { id: '', n: 3 }, from: 'stub' },
    ],
  ])('%s', (_what, atom, input, answer) => {
    expect(dryRunAnswer(atom, input)).toEqual(answer);
  });

  it.each<[JsonObject, unknown]>([
    [{ const: 5 }, 5],
    [{ default: 'd' }, 'd'],
    [{ enum: ['a', 'b'] }, 'a'],
    [{ examples: [[1]] }, [1]],
    [{ oneOf: [{ type: 'boolean' }] }, false],
    [{ type: ['null', 'string'] }, null],
    [{ type: 'array', minItems: 2, items: { type: 'number' } }, [0, 0]],
    [{ type: 'string', minLength: 3 }, 'xxx'],
    [{ $ref: '#/x' }, {}],
  ])('%j gives %j', (schema, stub) => {
    expect(stubOf(schema)).toEqual(stub);
  });
});
