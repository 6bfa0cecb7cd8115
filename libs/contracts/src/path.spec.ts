import { describe, expect, it } from 'vitest';
import { isUnder, matchesPattern, pathPrefixes, pathProblem, pathsOverlap } from './path.js';

describe('a resource path', () => {
  it.each(['host/dc1/rack7/web-042', 'a', 'a/'.repeat(15) + 'z', 'sérvice/ü'])('%s is good', (path) =>
    expect(pathProblem(path)).toBeUndefined(),
  );

  it.each([
    ['', 'empty'],
    ['/a', 'empty part'],
    ['a//b', 'empty part'],
    ['a/', 'empty part'],
    ['a/../b', '".."'],
    ['a/./b', '"."'],
    ['a/b\u0000', 'control'],
    ['e\u0301', 'normal form'],
    ['a/'.repeat(16) + 'z', 'segments'],
    ['x'.repeat(513), 'bytes'],
    ['ü'.repeat(257), 'bytes'],
  ])('%j is refused: %s', (path, why) => expect(pathProblem(path)).toContain(why));

  it('overlaps what is equal, above or below, and no name that only begins alike', () => {
    expect(pathsOverlap('host/a', 'host/a')).toBe(true);
    expect(pathsOverlap('host', 'host/a')).toBe(true);
    expect(pathsOverlap('host/a/b', 'host/a')).toBe(true);
    expect(pathsOverlap('host/a', 'host/ab')).toBe(false);
    expect(isUnder('host/ab', 'host/a')).toBe(false);
    expect(pathPrefixes('a/b/c')).toEqual(['a', 'a/b']);
  });
});

describe('a pattern', () => {
  it.each([
    ['host/*', 'host/dc1/r1/a', true],
    ['*', '', true],
    ['*.state', 'fleet.service.state', true],
    ['a*b*c', 'aXbYc', true],
    ['a*b*c', 'ac', false],
    ['a*a', 'a', false],
    ['host/*', 'hosts/a', false],
    ['exact', 'exact', true],
    ['exact', 'Exact', false],
    ['a.c', 'abc', false],
  ])('%s on %s is %s', (pattern, text, expected) => expect(matchesPattern(pattern, text)).toBe(expected));

  it('of many stars costs no more than its length', () => {
    expect(matchesPattern('*a'.repeat(2_000) + 'b', 'a'.repeat(20_000))).toBe(false);
  });
});
