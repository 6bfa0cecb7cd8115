import { describe, expect, it } from 'vitest';
import { curlOf, exampleOf } from './offering.pure.js';

describe('exampleOf', () => {
  it.each([
    [undefined, null],
    [{ type: 'string' }, 'text'],
    [{ type: 'string', examples: ['host/a'] }, 'host/a'],
    [{ type: 'string', default: 'x', enum: ['y'] }, 'x'],
    [{ enum: ['y', 'z'] }, 'y'],
    [{ const: 7 }, 7],
    [{ type: 'integer', minimum: 3 }, 3],
    [{ type: ['number', 'null'] }, 1],
    [{ type: 'array', items: { type: 'boolean' } }, [true]],
    [{ type: 'object', required: ['a'], properties: { a: { type: 'string' }, b: { type: 'string' } } }, { a: 'text' }],
    [true, null],
  ])('%j → %j', (schema, expected) => expect(exampleOf(schema)).toEqual(expected));

  it('ends on a schema that never does', () => {
    const endless: Record<string, unknown> = { type: 'array' };
    endless['items'] = endless;
    expect(JSON.stringify(exampleOf(endless as never))).toBe('[[[[[[[null]]]]]]]');
  });
});

describe('curlOf', () => {
  it('quotes for the shell: nothing in the input is run', () => {
    const text = curlOf('http://127.0.0.1:7300', 'fleet/x', { host: "it's $(reboot) `id`" });
    expect(text).toContain('-d \'{"input":{"host":"it\'\\\'\'s $(reboot) `id`"}}\'');
    expect(text).toContain("'http://127.0.0.1:7300/v1/catalog/fleet/x/runs'");
  });
});
