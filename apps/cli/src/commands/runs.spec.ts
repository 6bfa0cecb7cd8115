import type { Verdict, RunStatus } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { CliError, EXIT } from '../errors.js';
import { scopeOf } from './halts.js';
import { exitOf, inputOf, offeringOf } from './runs.js';

const streams = { cwd: '/', stdin: () => Promise.resolve('hosts: [host/a]\nn: 1\n') };

describe('inputs', () => {
  it('reads JSON values, texts and files; later ones win', async () => {
    expect(await inputOf(['n=3', 'host=host/a', 'list=["a"]', 'empty=', 'eq=a=b'], streams)).toEqual({
      n: 3,
      host: 'host/a',
      list: ['a'],
      empty: '',
      eq: 'a=b',
    });
    expect(await inputOf(['@-', 'n=2'], streams)).toEqual({ hosts: ['host/a'], n: 2 });
    expect(await inputOf(['{"n": 1, "in": {"a": [true]}}', 'n=2'], streams)).toEqual({ n: 2, in: { a: [true] } });
  });
  it.each([['novalue'], ['=x'], ['@/no/such/file'], ['{"n": 1'], ['{a: 1} trailing']])('refuses %s', async (input) => {
    await expect(inputOf([input], streams)).rejects.toThrow(CliError);
  });
});

describe('offerings', () => {
  it.each([
    ['fleet/restart', { offering: 'fleet/restart' }],
    ['fleet/restart@^1', { offering: 'fleet/restart', version: '^1' }],
    ['probe.http@1', { offering: 'atom/probe.http', version: '1' }],
    ['atom/probe.http', { offering: 'atom/probe.http' }],
  ])('%s', (text, offering) => expect(offeringOf(text)).toEqual(offering));
  it.each([['restart'], ['a/b/c'], ['']])('refuses "%s"', (text) => expect(() => offeringOf(text)).toThrow(CliError));
});

describe('exit codes of a run', () => {
  it.each<[RunStatus, Verdict, number]>([
    ['succeeded', 'admitted', EXIT.ok],
    ['failed', 'admitted', EXIT.failed],
    ['cancelled', 'withdrawn', EXIT.rejected],
    ['cancelled', 'expired', EXIT.rejected],
    ['cancelled', 'admitted', EXIT.failed],
    ['queued', 'needs-approval', EXIT.waiting],
    ['waiting', 'admitted', EXIT.failed],
    ['queued', 'queued', EXIT.failed],
    ['running', 'admitted', EXIT.failed],
  ])('%s, %s → %i', (status, verdict, exit) => expect(exitOf({ status, admission: { verdict } })).toBe(exit));
});

it('a run that asks people waits for a person, whatever else it does', () => {
  const run = { status: 'waiting', admission: { verdict: 'admitted' } } as const;
  expect(exitOf({ ...run, approvals: [{ id: 'a', path: 'p', title: 't' }] })).toBe(EXIT.waiting);
});

describe('scope of a halt', () => {
  it('is everything only when that is said', () => {
    expect(scopeOf({ all: true })).toEqual({});
    expect(scopeOf({ rule: ['a/*'], path: ['host/a', 'host/b'] })).toEqual({
      rules: ['a/*'],
      paths: ['host/a', 'host/b'],
    });
    expect(() => scopeOf({})).toThrow(/say what to halt/);
    expect(() => scopeOf({ all: true, tier: ['P0'] })).toThrow(/exclude/);
  });
});
