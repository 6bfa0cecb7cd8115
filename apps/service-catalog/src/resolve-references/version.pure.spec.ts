import { describe, expect, it } from 'vitest';
import { newerPublished, parseOfferingRef, selectVersion, type Versioned } from './version.pure.js';

const v = (version: string, status: Versioned['status'] = 'published'): Versioned => ({ version, status });

describe('parseOfferingRef', () => {
  it.each([
    ['fleet/restart@1', { kind: 'flow', name: 'fleet/restart', range: '1' }],
    ['fleet/restart', { kind: 'flow', name: 'fleet/restart' }],
    ['probe.http@^1.2.0', { kind: 'atom', name: 'probe.http', range: '^1.2.0' }],
    ['atom/fleet.host.restart', { kind: 'atom', name: 'fleet.host.restart' }],
    ['fleet/restart@>=1.0.0 <2.0.0', { kind: 'flow', name: 'fleet/restart', range: '>=1.0.0 <2.0.0' }],
  ])('%s', (ref, expected) => expect(parseOfferingRef(ref)).toEqual(expected));

  it.each([
    '',
    '@1',
    'fleet',
    'Fleet/x',
    'a/b/c',
    'a.b.c.d',
    'fleet/x@',
    'fleet/x@latest',
    'fleet/x@1@2',
    'atom/fleet/x',
  ])('refuses "%s"', (ref) => expect(() => parseOfferingRef(ref)).toThrow('is no reference'));
});

describe('selectVersion', () => {
  const all = [
    v('1.0.0'),
    v('1.2.0', 'deprecated'),
    v('1.1.0'),
    v('2.0.0', 'draft'),
    v('2.0.0-rc.1'),
    v('1.10.0', 'draft'),
  ];
  it.each<[string | undefined, string | undefined]>([
    [undefined, '1.1.0'],
    ['1', '1.1.0'],
    ['1.0', '1.0.0'],
    ['~1.2', undefined],
    ['1.2.0', '1.2.0'],
    ['2', undefined],
    ['2.0.0', undefined],
    ['2.0.0-rc.1', '2.0.0-rc.1'],
    ['^2.0.0-rc.0', '2.0.0-rc.1'],
    ['3', undefined],
  ])('%s → %s', (range, expected) => expect(selectVersion(all, range)?.version).toBe(expected));

  it('takes the newest pre-release when there is nothing else and no range', () => {
    expect(selectVersion([v('1.0.0-a.1'), v('1.0.0-a.2')])?.version).toBe('1.0.0-a.2');
    expect(selectVersion([v('1.0.0', 'draft')])).toBeUndefined();
    expect(selectVersion([])).toBeUndefined();
  });
});

describe('newerPublished', () => {
  it('orders by semver, not by text, and leaves drafts alone', () => {
    expect(
      newerPublished(
        [v('1.9.0'), v('1.10.0'), v('1.11.0', 'draft'), v('1.2.0'), v('2.0.0', 'deprecated')],
        '1.9.0',
      ).map((x) => x.version),
    ).toEqual(['1.10.0']);
  });
});
