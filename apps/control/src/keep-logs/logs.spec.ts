import { randomUUID } from 'node:crypto';
import { LOG_RUN_LINES_MAX, type LogEntry, type LogLine } from '@opsloop/contracts';
import { eventually } from '@opsloop/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ADMIN,
  type ControlApp,
  type Peers,
  SERVICE,
  shared,
  type Shared,
  startControl,
  startPeers,
} from '../control-app.spec-kit.js';
import { withProgress } from '../runs/progress.pure.js';
import { fittingLines } from './log.pure.js';

const line = (text: string): LogLine => ({ at: '2026-01-01T00:00:00.000Z', stream: 'stdout', text });

describe('the log of a run', () => {
  let s: Shared;
  let peers: Peers;
  let a: ControlApp;
  beforeAll(async () => {
    [s, peers] = await Promise.all([shared(), startPeers()]);
    a = await startControl(s, peers);
  });
  afterAll(async () => {
    await a?.close();
    await Promise.all([s.drop(), peers.close()]);
  });
  const started = async (): Promise<string> => {
    const id = await a.send({ ref: 'demo/slow@1', input: { host: `host/dc1/${randomUUID()}` } });
    await eventually(async () => expect(await a.state(id)).toBe('started'));
    return id;
  };
  const say = async (id: string, step: string, ...texts: string[]): Promise<void> => {
    const answer = await a.call('POST', `/v1/runs/${id}/logs`, { step, attempt: 1, lines: texts.map(line) });
    expect(answer).toMatchObject({ status: 200, body: { kept: texts.length } });
  };
  const end = (id: string): Promise<unknown> => a.call('POST', `/v1/runs/${id}/terminate`, { reason: 'spec' });

  it('is read page by page, or one step of it', async () => {
    const id = await started();
    await say(id, 'a', 'one', 'two');
    await say(id, 'b', 'three');
    const first = (await a.call('GET', `/v1/runs/${id}/logs?limit=2`)).body;
    expect(first.items).toMatchObject([
      { seq: 1, step: 'a', attempt: 1, stream: 'stdout', text: 'one' },
      { seq: 2, text: 'two' },
    ]);
    const second = (await a.call('GET', `/v1/runs/${id}/logs?limit=2&cursor=${first.nextCursor}`)).body;
    expect(second).toMatchObject({ items: [{ seq: 3, step: 'b' }] });
    expect(second.nextCursor).toBeUndefined();
    expect((await a.call('GET', `/v1/runs/${id}/logs?step=b`)).body.items).toHaveLength(1);
    await end(id);
  });

  it('is followed from what was said before to the last line of the run', async () => {
    const id = await started();
    await say(id, 'a', 'before');
    const answer = await fetch(`${a.url}/v1/runs/${id}/logs?follow=true`, {
      headers: { authorization: `Bearer ${ADMIN}` },
    });
    expect(answer.headers.get('content-type')).toBe('application/x-ndjson; charset=utf-8');
    const heard: string[] = [];
    const listening = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>)
        for (const text of decoder.decode(chunk).split('\n').filter(Boolean))
          heard.push((JSON.parse(text) as LogEntry).text);
    })();
    await eventually(() => expect(heard).toEqual(['before']));
    await say(id, 'a', 'meanwhile');
    await eventually(() => expect(heard).toEqual(['before', 'meanwhile']));
    await say(id, 'a', 'last');
    await end(id);
    await listening;
    expect(heard).toEqual(['before', 'meanwhile', 'last']);
  });

  it('is full at its bound, and says so', async () => {
    const id = await started();
    await say(id, 'a', 'one');
    await a.db.query('UPDATE control.run_log SET lines = $2 WHERE run_id = $1', [id, LOG_RUN_LINES_MAX - 2]);
    const lines = ['two', 'three', 'four'].map(line);
    expect((await a.call('POST', `/v1/runs/${id}/logs`, { step: 'a', attempt: 1, lines })).body).toEqual({ kept: 2 });
    expect((await a.call('POST', `/v1/runs/${id}/logs`, { step: 'a', attempt: 1, lines })).body).toEqual({ kept: 0 });
    const texts = (await a.call('GET', `/v1/runs/${id}/logs`)).body.items.map((i: LogEntry) => i.text);
    expect(texts).toEqual(['one', 'two', expect.stringContaining('is full') as string]);
    await end(id);
  });

  it.each([
    ['an unknown run', randomUUID(), { step: 'a', attempt: 1, lines: [] }, 404, 'not-found'],
    ['no run at all', 'nonsense', { step: 'a', attempt: 1, lines: [] }, 404, 'not-found'],
    ['a line too long', randomUUID(), { step: 'a', attempt: 1, lines: [line('x'.repeat(2_001))] }, 400, 'validation'],
    [
      'too many lines',
      randomUUID(),
      { step: 'a', attempt: 1, lines: Array.from({ length: 501 }, () => line('x')) },
      400,
      'validation',
    ],
  ])('refuses %s', async (_what, id, body, status, code) => {
    expect(await a.call('POST', `/v1/runs/${id}/logs`, body)).toMatchObject({ status, body: { code } });
  });

  it('takes lines of the platform’s own worker under the service token alone', async () => {
    const id = await started();
    const post = (token: string) =>
      fetch(`${a.url}/internal/runs/${id}/logs`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ step: 'a', attempt: 1, lines: [line('inside')] }),
      });
    expect((await post(ADMIN)).status).toBe(403);
    expect((await post(SERVICE)).status).toBe(200);
    const wrong = await a.call('GET', `/v1/runs/${id}/logs?cursor=eyJ9`);
    expect(wrong).toMatchObject({ status: 400, body: { errors: [{ pointer: '/cursor' }] } });
    await end(id);
  });
});

describe('what fits', () => {
  it.each([
    [{ lines: 0, chars: 0 }, 3, ['a', 'a', 'a']],
    [{ lines: LOG_RUN_LINES_MAX - 1, chars: 0 }, 3, [expect.stringContaining('full')]],
    [{ lines: LOG_RUN_LINES_MAX, chars: 0 }, 3, []],
    [{ lines: 1, chars: 4 * 1024 * 1024 - 2 }, 3, ['a', expect.stringContaining('full')]],
  ])('after %j of %i lines', (size, count, texts) => {
    const lines = Array.from({ length: count }, () => line('a'));
    expect(fittingLines(size, lines).map((l) => l.text)).toEqual(texts);
  });
});

describe('steps under way', () => {
  const step = { path: 'a[x]/b', id: 'b', verb: 'call', status: 'running' as const, attempts: 1, startedAt: 't' };
  it.each([
    ['nothing known', [], {}],
    [
      'progress',
      [{ activityId: 'a[x]/b#0', attempt: 1, details: { percent: 40, message: 'half', failures: 1 } }],
      { progress: { percent: 40, message: 'half' } },
    ],
    ['details of another shape', [{ activityId: 'a[x]/b#0', attempt: 1, details: 'x' }], {}],
    ['a poll of a job', [{ activityId: 'a[x]/b#0/poll', attempt: 7, failure: { message: 'm', type: 'not-yet' } }], {}],
    [
      'a repeat',
      [{ activityId: 'a[x]/b#0', attempt: 2, failure: { message: 'no answer' }, nextAttemptAt: new Date(0) }],
      { attempts: 2, retrying: { why: 'no answer', nextAt: '1970-01-01T00:00:00.000Z' } },
    ],
  ])('%s', (_what, pending, more) => {
    expect(withProgress([step, { ...step, status: 'succeeded' }], pending)).toEqual([
      { ...step, ...more },
      { ...step, status: 'succeeded' },
    ]);
  });
});
