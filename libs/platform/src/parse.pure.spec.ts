import { OpsError } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { parseJsonBody } from './parse.pure.js';

const MB = 1024 * 1024;

describe('members of a body', () => {
  it('are counted by the bytes that its route takes', () => {
    const text = JSON.stringify(new Array(150_000).fill(1));
    expect(() => parseJsonBody(text, MB)).toThrow(OpsError);
    expect(parseJsonBody(text, 16 * MB)).toHaveLength(150_000);
    // A smaller body limit leaves the number as it is: small documents of many members exist.
    expect(parseJsonBody(JSON.stringify(new Array(90_000).fill(1)), 1_000)).toHaveLength(90_000);
  });
});
