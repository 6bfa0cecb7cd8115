/** Plays one scenario: the world stands still until everything that a moment asks for is done, then time jumps. */
import type { AtomCall, EventMessage, Json, JsonObject } from '@opsloop/contracts';
import { durationMs } from '@opsloop/contracts';
import { EventSender, FlowActivitiesService, judgeGate } from '@opsloop/dsl-interpreter';
import { ReadCache } from '@opsloop/atoms';
import type {
  ActivityAnswer,
  ActivityCall,
  Sandbox,
  ScenarioAnswer,
  ScenarioEvent,
  ScenarioSeen,
  ScenarioTest,
  Thrown,
} from '@opsloop/flowtest';
import { answerOf, ScenarioAnswers, VirtualTemporal } from '@opsloop/flowtest';
import { dueLoops } from '@opsloop/postgres';
import { ApplicationFailure } from '@temporalio/common';
import { type PlayedDocument, putDocuments } from './put-documents.js';
import type { PlayStack } from './play-stack.js';
import { startPlayStack } from './play-stack.js';
import { readWorld } from './read-world.js';
import type { VirtualTime } from './virtual-time.js';
import { DUE_COLUMNS, makeDatabase, nextDueSql } from './virtual-time.js';

/** A Monday morning, so that the same test says the same next year. */
export const START = '2026-01-05T09:00:00.000Z';
/** Nothing is watched for longer: a world that is still busy after a day will be for ever. */
const WATCH_MAX_MS = 86_400_000;
/** Everything that is due has a moment of its own; in between goals are looked at this often, for what nobody has told. */
const LOOK_EVERY_MS = 300_000;
/** Looks in a row that find nothing before a moment is over; work passes from one part to the next within a turn. */
const QUIET_LOOKS = 3;
/** Looks at one moment; each does something, so more of them are a circle. */
const LOOKS_MAX = 5_000;

export interface PlayOptions {
  sandbox: Sandbox;
  time: VirtualTime;
  admin: string;
  database: string;
  port: number;
}

export async function playScenario(
  test: ScenarioTest,
  documents: PlayedDocument[],
  options: PlayOptions,
): Promise<ScenarioSeen> {
  const play = new ScenarioPlay(test, options);
  try {
    await play.begin(documents);
    return await play.run();
  } finally {
    await play.end();
  }
}

class ScenarioPlay {
  private readonly startMs: number;
  private readonly answers: ScenarioAnswers;
  private readonly world: VirtualTemporal;
  private readonly happenings: { at: number; act: () => Promise<void> }[] = [];
  private readonly calls: JsonObject[] = [];
  private readonly troubles: string[] = [];
  private readonly sent: string[] = [];
  private readonly people = new Map<string, string>();
  private activities: Record<string, (request: never) => Promise<unknown>> = {};
  private stack!: PlayStack;
  private dueSql = '';
  private asked = 0;
  private done = 0;

  constructor(
    private readonly test: ScenarioTest,
    private readonly options: PlayOptions,
  ) {
    this.startMs = Date.parse(test.start?.at ?? START);
    options.time.now = this.startMs;
    this.answers = new ScenarioAnswers(test.mocks);
    this.world = new VirtualTemporal(options.sandbox, {
      startMs: this.startMs,
      continueAsNewAt: 4_096,
      answer: (call) => this.answer(call),
    });
  }

  async begin(documents: PlayedDocument[]): Promise<void> {
    const { admin, database, port } = this.options;
    const databaseUrl = await makeDatabase(admin, database, this.startMs);
    const atoms = { execute: (call: AtomCall, atom: string) => this.observe(atom, call.input) };
    this.stack = await startPlayStack({ databaseUrl, port, world: () => this.world, atoms });
    const { client, platform } = this.stack;
    const gate = {
      check: async (context: Parameters<typeof judgeGate>[0]): Promise<void> => {
        const snapshot = await client.call('POST /internal/halts', {});
        const verdict = judgeGate(context, { snapshot, ageMs: 0 });
        if (!verdict.go) throw verdict.error;
      },
    };
    const service = new FlowActivitiesService(client, gate as never, new EventSender(platform), new ReadCache());
    this.activities = service.activities() as never;
    this.dueSql = nextDueSql(await this.stack.database.query(DUE_COLUMNS));
    this.troubles.push(...(await putDocuments(this.stack, documents, this.test)));
  }

  async run(): Promise<ScenarioSeen> {
    const { test, startMs } = this;
    for (const event of test.events) this.plan(event.at, () => this.send(event, true));
    for (const act of test.operator ?? []) this.plan(act.at, () => this.operate(act));
    const until = startMs + (test.until === undefined ? WATCH_MAX_MS : durationMs(test.until));
    let lastWork = startMs;
    // The documents are known everywhere, then comes what the first moment brings, and only then does anybody look.
    await this.settle({ looks: false });
    await this.goTo(startMs);
    for (;;) {
      if (await this.settle()) lastWork = this.options.time.now;
      if (this.troubles.length > 0) break;
      const next = await this.nextMoment();
      if (next === undefined || next > until) break;
      await this.goTo(next);
    }
    if (test.until !== undefined && this.troubles.length === 0) await this.goTo(until);
    await this.settle();
    const seen = await readWorld(this.stack.database, { startMs, events: this.sent, tookMs: lastWork - startMs });
    const warnings = this.answers.unused().map((atom) => `no call came to ${atom}`);
    return { ...seen, calls: this.calls, troubles: this.troubles, warnings };
  }

  async end(): Promise<void> {
    for (const execution of this.world.open()) execution.end({ status: 'terminated' });
    await this.stack?.close();
  }

  // ---------------------------------------------------------------- time
  private plan(after: string | undefined, act: () => Promise<void>): void {
    this.happenings.push({ at: this.options.time.now + (after === undefined ? 0 : durationMs(after)), act });
    this.happenings.sort((a, b) => a.at - b.at);
  }

  private async nextMoment(): Promise<number | undefined> {
    const { now } = this.options.time;
    const [row] = await this.stack.database.query<{ ms: string | null }>(this.dueSql);
    // Rounded up: a moment that the database sees a fraction later is not over yet.
    const due = row?.ms == null ? undefined : Math.max(now + 1, Math.ceil(Number(row.ms)));
    const planned = [this.happenings[0]?.at, this.world.clock.next()].filter((at) => at !== undefined);
    const busy = planned.length > 0 || (await this.isBusy());
    if (!busy) return undefined;
    return Math.min(...planned, due ?? Infinity, now + LOOK_EVERY_MS);
  }

  /** Whether anybody still waits for something that time alone may bring. */
  private async isBusy(): Promise<boolean> {
    const [row] = await this.stack.database.query<{ busy: boolean }>(
      `SELECT EXISTS (SELECT 1 FROM decision.episode WHERE live) OR EXISTS (SELECT 1 FROM decision.wait WHERE due_at IS NOT NULL)
        OR EXISTS (SELECT 1 FROM control.admission WHERE state IN ('needs-approval', 'queued', 'held', 'admitted', 'started')) AS busy`,
    );
    return row!.busy;
  }

  private async goTo(moment: number): Promise<void> {
    const { time } = this.options;
    time.now = Math.max(time.now, moment);
    await this.stack.database.query(
      'UPDATE virtual.clock SET at = to_timestamp($1), set_at = pg_catalog.clock_timestamp()',
      [time.now / 1_000],
    );
    while ((this.world.clock.next() ?? Infinity) <= time.now) this.world.clock.advance();
    this.world.clock.now = time.now;
    while ((this.happenings[0]?.at ?? Infinity) <= time.now) this.launch(this.happenings.shift()!.act);
  }

  /** An answer of a person is heard by a flow, which hears while the world settles: nobody may wait for it before. */
  private launch(act: () => Promise<void>): void {
    this.asked += 1;
    void act()
      .catch((error: unknown) => this.troubles.push(error instanceof Error ? error.message : String(error)))
      .finally(() => {
        this.asked -= 1;
        this.done += 1;
      });
  }

  /**
   * Lets everything happen that can happen now. True when something did. Goals are looked at once the rest is done: as
   * everywhere, an event is decided long before a look would have found out.
   */
  private async settle({ looks: mayLook } = { looks: true }): Promise<boolean> {
    const before = this.done;
    for (let quiet = 0, looks = 0; quiet < QUIET_LOOKS; looks += 1) {
      if (looks > LOOKS_MAX) throw new Error('the world does not come to rest');
      const seen = this.done;
      while (this.world.isAwake || (this.world.clock.next() ?? Infinity) <= this.world.clock.now) {
        this.done += 1;
        this.world.runWoken();
        if ((this.world.clock.next() ?? Infinity) <= this.world.clock.now) this.world.clock.advance();
      }
      const patrols = mayLook && quiet > 0;
      for (const loop of dueLoops) if (patrols || !loop.patrol) this.done += await loop.drain();
      const lag = await this.stack.bus.lag();
      const open = lag.reduce((sum, one) => sum + Number(one.messages), 0);
      if (open > 0) this.done += 1;
      // Others have a turn: answers of HTTP calls, consumers that were woken.
      await new Promise((resolve) => setTimeout(resolve, open > 0 || this.asked > 0 ? 2 : 1));
      quiet = this.done === seen && this.asked === 0 ? quiet + 1 : 0;
    }
    return this.done > before;
  }

  // ---------------------------------------------------------------- what happens from outside
  private async send({ event }: ScenarioEvent, named: boolean): Promise<void> {
    this.done += 1;
    const id = `scenario-${this.done}`;
    const { type, source = 'scenario', subject, data = {} } = event;
    const body = { specversion: '1.0', id, source, type, ...(subject === undefined ? {} : { subject }), data };
    const answer = await this.stack.call('POST', '/v1/events', body, 'application/cloudevents+json');
    if (answer.status !== 202) {
      this.troubles.push(`the event ${type} was refused: ${detailOf(answer.body)}`);
      return;
    }
    const { items } = answer.body as { items: { eventId: EventMessage['eventId'] }[] };
    if (named) this.sent.push(items[0]!.eventId);
  }

  private async operate(act: NonNullable<ScenarioTest['operator']>[number]): Promise<void> {
    this.done += 1;
    const reason = act.reason ?? 'scenario';
    const refuse = (answer: { status: number; body: unknown }): void => {
      if (answer.status >= 300) this.troubles.push(`${act.act} at ${act.at} was refused: ${detailOf(answer.body)}`);
    };
    if (act.act === 'request') {
      const [method, path] = (act.request ?? '').split(' ');
      return refuse(await this.stack.call(method!, path ?? '', act.body));
    }
    if (act.act === 'halt')
      return refuse(
        await this.stack.call('POST', '/v1/halts', { scope: act.scope ?? {}, running: act.running ?? 'pause', reason }),
      );
    if (act.act === 'lift') {
      const { body } = await this.stack.call('GET', '/v1/halts');
      for (const { id } of (body as { items: { id: string }[] }).items)
        refuse(await this.stack.call('POST', `/v1/halts/${id}/lift`, { reason }));
      return;
    }
    await this.answerApprovals(act.act, act, reason, refuse);
  }

  private async answerApprovals(
    answer: 'approve' | 'reject',
    { flow, by }: { flow?: string; by?: string },
    reason: string,
    refuse: (answer: { status: number; body: unknown }) => void,
  ): Promise<void> {
    const { body } = await this.stack.call('GET', '/v1/approvals?status=open');
    const items = (body as { items: { id: string; flow: string }[] }).items;
    const mine = items.filter((one) => flow === undefined || one.flow === flow);
    if (mine.length === 0)
      this.troubles.push(`nobody asked anything${flow === undefined ? '' : ` for ${flow}`} when it was to be answered`);
    const token = by === undefined ? undefined : await this.person(by);
    for (const { id } of mine)
      refuse(await this.stack.call('POST', `/v1/approvals/${id}/answer`, { answer, reason }, undefined, token));
  }

  /** A token in the name of a person, so that two of them are two. */
  private async person(name: string): Promise<string> {
    let token = this.people.get(name);
    if (token === undefined) {
      const { status, body } = await this.stack.call('POST', '/v1/tokens', { name, roles: ['admin'] });
      if (status !== 201) throw new Error(`${name} gets no token: ${detailOf(body)}`);
      this.people.set(name, (token = (body as { token: string }).token));
    }
    return token;
  }

  // ---------------------------------------------------------------- who answers
  private answer(call: ActivityCall): ActivityAnswer {
    const own = this.activities[call.type];
    if (own !== undefined) return { asked: (done) => this.ask(own(call.argument as never), done) };
    const { context, input, job } = call.argument as unknown as AtomCall;
    const atom = job === undefined ? call.type : call.type.replace(/\.(start|poll|cancel)$/, '');
    if (job?.phase === 'cancel') return { value: null };
    if (job?.phase === 'start') return { value: { id: context.key } };
    const mock = this.mockOf(atom, input, context.step);
    if (mock === undefined)
      return { thrown: { type: 'scenario', message: `nothing answers for ${atom}`, nonRetryable: true } };
    if (call.attempt === 1) this.called(atom, context.step, input);
    const answer = answerOf(mock);
    for (const event of mock.then ?? [])
      this.plan(`${durationMs(event.at ?? '0s') + ('afterMs' in answer ? (answer.afterMs ?? 0) : 0)}ms`, () =>
        this.send(event, false),
      );
    const { cache } = call.argument as unknown as AtomCall;
    return cache === undefined || !('value' in answer)
      ? answer
      : { ...answer, value: { output: answer.value ?? null } };
  }

  private ask(answer: Promise<unknown>, done: (answer: ActivityAnswer) => void): void {
    this.asked += 1;
    void answer
      .then(
        (value): ActivityAnswer => ({ value: (value ?? null) as Json }),
        (error: unknown): ActivityAnswer => ({ thrown: thrownBy(error) }),
      )
      .then((result) => {
        this.asked -= 1;
        this.done += 1;
        done({ ...result, afterMs: 0 });
      });
  }

  private async observe(atom: string, input: Json): Promise<Json> {
    const mock = this.mockOf(atom, input, 'observe');
    if (mock?.problem !== undefined || mock === undefined) throw new Error(mock?.problem?.type ?? 'nothing answers');
    return mock.result ?? null;
  }

  private mockOf(atom: string, input: Json, step: string): ScenarioAnswer | undefined {
    const mock = this.answers.next(atom, input, this.options.time.now - this.startMs);
    if (mock === undefined)
      this.troubles.push(
        `${step} calls ${atom} with ${JSON.stringify(input)}, and no mock answers; add ${JSON.stringify({ [atom]: { result: {} } })} to "mocks"`,
      );
    return mock;
  }

  private called(atom: string, step: string, input: Json): void {
    this.calls.push({ name: atom, atom, step, with: input, at: (this.options.time.now - this.startMs) / 1_000 });
  }
}

function thrownBy(error: unknown): Thrown {
  if (error instanceof ApplicationFailure)
    return {
      type: error.type ?? 'internal',
      message: error.message,
      ...(error.nonRetryable === true ? { nonRetryable: true } : {}),
      details: (error.details ?? []) as Json[],
    };
  return { type: 'internal', message: error instanceof Error ? error.message : String(error) };
}

function detailOf(body: unknown): string {
  return (body as { detail?: string } | undefined)?.detail ?? JSON.stringify(body);
}
