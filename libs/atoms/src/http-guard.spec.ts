import { OpsError } from '@opsloop/contracts';
import { startHttpTarget, type HttpTarget } from '@opsloop/testing';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { callMs, HttpGuard, type HttpGuardOptions } from './http-guard.js';

const guards: HttpGuard[] = [];
function guard(options: Partial<HttpGuardOptions> = {}): HttpGuard {
  const made = new HttpGuard({ allow: [], embedded: false, ...options });
  guards.push(made);
  return made;
}
afterEach(async () => {
  await Promise.all(guards.splice(0).map((g) => g.close()));
});

let target: HttpTarget;
beforeAll(async () => {
  target = await startHttpTarget((call) =>
    call.path === '/redirect'
      ? { status: 302, headers: { location: 'http://169.254.169.254/latest/meta-data' } }
      : { body: { ok: true } },
  );
});
afterAll(() => target.close());

const codeOf = async (act: Promise<unknown>): Promise<string> => {
  const error: unknown = await act.then(
    () => new Error('it went through'),
    (e: unknown) => e,
  );
  return error instanceof OpsError ? error.code : `${String(error)}`;
};

describe('where calls may go', () => {
  it.each([
    'http://127.0.0.1/',
    'http://2130706433/',
    'http://017700000001/',
    'http://0x7f000001/',
    'http://0x7f.1/',
    'http://127.1/',
    'http://0/',
    'http://0.0.0.0/',
    'http://localhost/',
    'http://localhost./',
    'http://a.localhost/',

    'http://[::1]/',
    'http://[::ffff:127.0.0.1]/',
    'http://[::ffff:7f00:1]/',
    'http://[64:ff9b::7f00:1]/',
    'http://169.254.169.254/latest/meta-data/',
    'http://[fd00:ec2::254]/',
    'http://metadata.google.internal/',
    'http://METADATA.google.internal./',
    'http://①②⑦.0.0.1/',
    'https://10.0.0.1/',
    'http://192.168.0.1:8080/',
  ])('refuses %s and says how to allow it', async (url) => {
    const error: unknown = await guard()
      .request({ method: 'GET', url })
      .catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'authorization' });
    expect((error as OpsError).detail).toContain('OPSLOOP_HTTP_ALLOW');
  });

  it.each([
    'ftp://example.com/',
    'file:///etc/passwd',
    'gopher://127.0.0.1/',
    '/relative',
    'http://user:secret@example.com/',
    'javascript:1',
  ])('does not send %s', async (url) => {
    expect(await codeOf(guard().request({ method: 'GET', url }))).toBe('validation');
  });

  it('reaches loopback in the embedded stack, but not its own ports', async () => {
    const answer = await guard({ embedded: true }).request({ method: 'GET', url: `${target.url}/x` });
    expect(answer.status).toBe(200);
    const byName = target.url.replace('127.0.0.1', 'localhost');
    expect((await guard({ embedded: true }).request({ method: 'GET', url: byName })).status).toBe(200);
    const own = guard({ embedded: true, ownPorts: [Number(new URL(target.url).port)] });
    expect(await codeOf(own.request({ method: 'GET', url: `${target.url}/x` }))).toBe('authorization');
  });

  it('reaches what the allow list names', async () => {
    const port = Number(new URL(target.url).port);
    expect((await guard({ allow: [`127.0.0.1:${port}`] }).request({ method: 'GET', url: target.url })).status).toBe(
      200,
    );
    expect(await codeOf(guard({ allow: [`127.0.0.1:${port + 1}`] }).request({ method: 'GET', url: target.url }))).toBe(
      'authorization',
    );
  });

  it('refuses a name when any of its addresses is not allowed', async () => {
    const mixed = guard({ resolve: () => Promise.resolve(['8.8.8.8', '127.0.0.1']) });
    expect(await codeOf(mixed.request({ method: 'GET', url: 'http://mixed.example/' }))).toBe('authorization');
  });

  it('connects to the address it judged, so a name that changes its answer gains nothing', async () => {
    const answers = [['127.0.0.1'], ['169.254.169.254']];
    let asked = 0;
    const port = new URL(target.url).port;
    const rebinding = guard({ embedded: true, resolve: () => Promise.resolve(answers[Math.min(asked++, 1)]!) });
    const before = target.calls.length;
    const answer = await rebinding.request({ method: 'GET', url: `http://rebind.example:${port}/a` });
    expect(answer.status).toBe(200);
    // Resolved once for the connection; the name itself arrives as Host.
    expect(asked).toBe(1);
    expect(target.calls[before]?.headers.host).toBe(`rebind.example:${port}`);
    const flipped = guard({ embedded: true, resolve: () => Promise.resolve(answers[1]!) });
    expect(await codeOf(flipped.request({ method: 'GET', url: `http://rebind.example:${port}/a` }))).toBe(
      'authorization',
    );
  });

  it('follows no redirect', async () => {
    const answer = await guard({ embedded: true }).request({ method: 'GET', url: `${target.url}/redirect` });
    expect(answer.status).toBe(302);
  });

  it.each([
    ['x-a', 'b\r\nx-c: d'],
    ['x a', 'b'],
    ['transfer-encoding', 'chunked'],
    ['Content-Length', '3'],
    ['x-a', 'snow ☃'],
  ])('does not send the header %s: %s', async (name, value) => {
    const call = guard({ embedded: true }).request({ method: 'GET', url: target.url, headers: { [name]: value } });
    expect(await codeOf(call)).toBe('validation');
  });
});

describe('bounds', () => {
  let slow: Server;
  let url: string;
  beforeAll(async () => {
    slow = createServer((req, res) => {
      if (req.url === '/huge') {
        res.writeHead(200);
        const chunk = Buffer.alloc(64 * 1024, 97);
        const more = (): void => {
          while (!res.destroyed && res.write(chunk));
          if (!res.destroyed) res.once('drain', more);
        };
        more();
      } else if (req.url === '/drip') {
        res.writeHead(200);
        const timer = setInterval(() => res.write('.'), 20);
        res.once('close', () => clearInterval(timer));
      } else if (req.url === '/short') {
        res.writeHead(200, { 'content-length': '100' });
        res.write('short');
        setTimeout(() => res.destroy(), 20);
      } else if (req.url === '/reset') {
        req.socket.destroy();
      }
    });
    await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(slow.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    slow.closeAllConnections();
    slow.close();
  });

  it.each([
    ['/huge', 'payload-too-large'],
    ['/hang', 'communication'],
    ['/drip', 'communication'],
    ['/short', 'communication'],
    ['/reset', 'communication'],
  ])('%s → %s', async (path, code) => {
    const started = performance.now();
    expect(await codeOf(guard({ embedded: true }).request({ method: 'GET', url: url + path, timeoutMs: 700 }))).toBe(
      code,
    );
    expect(performance.now() - started).toBeLessThan(3_000);
  });

  it('waits as long as the step says, also beyond the default', () => {
    expect(callMs(undefined)).toBe(30_000);
    expect(callMs(600_000)).toBe(600_000);
    expect(callMs(86_400_000)).toBe(900_000);
  });

  it('says communication when nobody listens or the name has no address', async () => {
    expect(await codeOf(guard({ embedded: true }).request({ method: 'GET', url: 'http://127.0.0.1:1/' }))).toBe(
      'communication',
    );
    const lost = guard({ resolve: () => Promise.resolve([]) });
    expect(await codeOf(lost.request({ method: 'GET', url: 'http://nowhere.example/' }))).toBe('communication');
  });

  it('ends with the caller', async () => {
    const abort = new AbortController();
    const call = guard({ embedded: true }).request({ method: 'GET', url: `${url}/hang`, signal: abort.signal });
    abort.abort(new Error('cancelled by the caller'));
    await expect(call).rejects.toThrow('cancelled by the caller');
  });
});
