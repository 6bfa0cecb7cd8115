/** The whole platform as one child process, and a world of machines that it may observe and repair. */
import { eventually, type HttpTarget, type RecordedCall, startHttpTarget } from '@opsloop/testing';
import { expect } from 'vitest';
import { type StackProcess, startStackProcess } from '../../tools/stack-process.mjs';
import { carrierEnvironment } from '../faults/config.js';

export interface Answer {
  status: number;
  headers: Headers;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- answers of all routes; specs look at what they expect
  body: any;
}

/** Machines by path: up or down, and what a repair of them does. */
export class World {
  readonly down = new Set<string>();
  /** Repairs of these answer 500. */
  readonly broken = new Set<string>();
  /** Repairs of these wait until they are let go. */
  readonly stuck = new Set<string>();
  target!: HttpTarget;

  static async start(): Promise<World> {
    const world = new World();
    world.target = await startHttpTarget((call) => world.answer(call));
    return world;
  }

  get address(): string {
    return this.target.url.slice('http://'.length);
  }

  calls(prefix: string): RecordedCall[] {
    return this.target.calls.filter((c) => c.path.startsWith(prefix));
  }

  private async answer({ path }: RecordedCall): Promise<{ status?: number; body?: unknown }> {
    const [, verb, ...rest] = path.split('/');
    const name = rest.join('/').replace(/\/healthz$/, '');
    if (verb === 'box') return this.down.has(name) ? { status: 503 } : { body: { ok: true } };
    if (verb !== 'fix') return { body: { ok: true } };
    await eventually(() => expect(this.stuck.has(name)).toBe(false), { timeoutMs: 40_000 });
    if (this.broken.has(name)) return { status: 500, body: { error: 'broken for good' } };
    this.down.delete(name);
    return { body: { fixed: name } };
  }
}

export class Stack {
  private constructor(readonly process: StackProcess) {}

  static async start(more: { env?: Record<string, string>; keepLines?: number } = {}): Promise<Stack> {
    // Goals are looked at every second, so that a story ends within seconds; 30 s is the default.
    const env = { OPSLOOP_RESYNC: '1s', OPSLOOP_LOG_LEVEL: 'warn', ...(await carrierEnvironment()), ...more.env };
    // Below the ports that the system hands out, and away from other stacks that start at this moment.
    const firstPort = 12_000 + 10 * (process.pid % 1_500);
    return new Stack(await startStackProcess({ ...more, env, firstPort }));
  }

  /** Somebody else's, of which only the origin is known. */
  static at(url: string, key: string): Stack {
    return new Stack({ url, key, stop: () => Promise.resolve() } as StackProcess);
  }

  async send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await fetch(this.process.url + path, {
      method,
      headers: {
        authorization: `Bearer ${this.process.key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      signal: AbortSignal.timeout(65_000),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) };
  }

  /** The body of an answer that has to be a success. */
  async ok(method: string, path: string, body?: unknown): Promise<Answer['body']> {
    const answer = await this.send(method, path, body);
    expect(answer.status, `${method} ${path} ${JSON.stringify(answer.body)}`).toBeLessThan(300);
    return answer.body;
  }

  get = (path: string): Promise<Answer['body']> => this.ok('GET', path);

  /** Documents as a file has them: kind and name say where they go; flows are published. */
  async put(...documents: { kind: string; name: string; [member: string]: unknown }[]): Promise<void> {
    for (const d of documents) {
      const body = { dsl: 'opsloop/v1', owner: 'e2e', ...(VERSIONED.has(d.kind) ? { version: '1.0.0' } : {}), ...d };
      const route = d.kind === 'policy' ? 'policies' : `${d.kind}s`;
      await this.ok('PUT', `/v1/${route}/${d.name}`, body);
      if (d.kind === 'flow') await this.ok('POST', `/v1/flows/${d.name}/publish`, { version: '1.0.0' });
    }
  }

  async event(type: string, subject: string, data: unknown = {}): Promise<string> {
    const body = { specversion: '1.0', id: crypto.randomUUID(), source: 'e2e', type, subject, data };
    const { items } = (await this.send('POST', '/v1/events', body, CLOUDEVENT)).body;
    return items[0].eventId as string;
  }

  start = (name: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
    this.send('POST', `/v1/catalog/${name}/runs`, body, headers);

  /** Waits for a run about which `query` is true. */
  run(query: string, status: string, timeoutMs = 40_000): Promise<Answer['body']> {
    return eventually(
      async () => {
        const { items } = await this.get(`/v1/runs?${query}`);
        expect(items.map((r: { status: string }) => r.status)).toContain(status);
        return this.get(`/v1/runs/${items.find((r: { status: string }) => r.status === status).id}`);
      },
      { timeoutMs, everyMs: 100 },
    );
  }

  episode(rule: string, resource: string, state: string, timeoutMs = 40_000): Promise<Answer['body']> {
    return eventually(
      async () => {
        const { items } = await this.get(`/v1/episodes?rule=${rule}&resource=${resource}`);
        expect(items.map((e: { state: string }) => e.state)).toContain(state);
        return items.find((e: { state: string }) => e.state === state);
      },
      { timeoutMs, everyMs: 100 },
    );
  }

  /** The verdict of a rule on an event, once it was judged. */
  verdict(eventId: string, rule: string): Promise<Answer['body']> {
    return eventually(
      async () => {
        const { rules } = await this.get(`/v1/events/${eventId}/explain`);
        const line = rules.find((r: { rule: string }) => r.rule === rule);
        expect(line).toBeDefined();
        return line;
      },
      { everyMs: 50 },
    );
  }

  stop = (): Promise<void> => this.process.stop();
}

const VERSIONED = new Set(['flow', 'atom', 'rule', 'table']);
export const CLOUDEVENT = { 'content-type': 'application/cloudevents+json' };
