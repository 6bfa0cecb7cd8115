import { describe, expect, it } from 'vitest';
import { bubblewrapArgv, nsjailArgv, parseScriptOutput } from './script-sandbox.pure.js';

describe('parseScriptOutput', () => {
  it.each([
    ['', {}],
    ['  \n', {}],
    ['{"a":1}', { values: { a: 1 } }],
    ['[1,2]\n', { values: [1, 2] }],
    ['a=1\nb = two words\n\n# note\nc=x=y\r\n', { values: { a: '1', b: ' two words', c: 'x=y' } }],
    ['e=', { values: { e: '' } }],
  ])('%j', (text, expected) => {
    expect(parseScriptOutput(text)).toEqual(expected);
  });
  it.each(['{"a":', 'no equals sign', '=value'])('refuses %j', (text) => {
    expect(parseScriptOutput(text).problem).toContain('OPSLOOP_OUTPUT');
  });
  it('keeps a key that names a prototype as data', () => {
    const { values } = parseScriptOutput('__proto__=x');
    expect(Object.keys(values as object)).toEqual(['__proto__']);
  });
});

describe('sandbox arguments', () => {
  const paths = { work: '/tmp/w', cwd: '/tmp/w', readOnly: ['/usr', '/bin'], network: false };
  it('bubblewrap: all namespaces of its own, one writable directory, no network unless granted', () => {
    const argv = bubblewrapArgv('/bin/bwrap', paths, ['bash', '/tmp/w/script']);
    expect(argv.slice(0, 2)).toEqual(['/bin/bwrap', '--unshare-all']);
    expect(argv).not.toContain('--share-net');
    expect(argv.filter((a) => a === '--ro-bind')).toHaveLength(2);
    expect(argv.filter((a) => a === '--bind')).toHaveLength(1);
    expect(argv.slice(-3)).toEqual(['--', 'bash', '/tmp/w/script']);
    expect(bubblewrapArgv('/bin/bwrap', { ...paths, network: true }, ['x'])).toContain('--share-net');
  });
  it('nsjail likewise', () => {
    const argv = nsjailArgv('/bin/nsjail', paths, 31, ['bash', '/tmp/w/script']);
    expect(argv).not.toContain('--disable_clone_newnet');
    expect(argv.slice(argv.indexOf('--time_limit'))[1]).toBe('31');
    expect(argv.filter((a) => a === '--bindmount')).toHaveLength(1);
    expect(argv.slice(-3)).toEqual(['--', 'bash', '/tmp/w/script']);
  });
});
