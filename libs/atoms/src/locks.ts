import { setTimeout as sleep } from 'node:timers/promises';
import { type Claim, durationMs, isErrorCode, OpsError } from '@opsloop/contracts';
import { request } from 'undici';
import type { PlatformAccess } from './secrets.js';

/** One transaction of control; longer means that the platform is in trouble. */
const CALL_MS = 5_000;
const TTL_DEFAULT = '60s';
/** A lease counts as over this part of it early, at least 5 s: what is under way needs time to stop. */
const MARGIN_PART = 0.2;
const MARGIN_MIN_MS = 5_000;
/** Three renewals, each of a second. */
const TTL_MIN_MS = 3_000;
/** Who holds something only tries for more: waiting in the queue, two would wait for each other for ever. */
const TRY_EVERY_MS = 1_000;
/** At its end; then the lease ends by itself. */
const RELEASE_TRIES = 3;

/** What an atom asks for besides the locks of its run. */
export interface LockOptions {
  mode?: Claim['mode'];
  /** Tried again for so long while somebody else has it. Default: one try. */
  wait?: string;
  /** How long it outlives a worker that dies. Default 60s; it is renewed by itself for as long as the atom runs. */
  ttl?: string;
}

export interface AtomLock {
  /** Send it on to what compares fences. */
  readonly fence: string;
  /** Sooner than at the end of the atom. Twice is fine. */
  release(): Promise<void>;
}

interface Taken {
  fence: string;
  /** The run has it anyway: nothing to renew or give back. */
  covered?: true;
}

/** For whom the locks are. */
export interface LockCall {
  run: string;
  step: string;
  attempt: number;
  dryRun: boolean;
}

/** The locks that one call of an atom takes: under the admission of its run, renewed while it goes on, given back at its end. */
export class CallLocks {
  private readonly held = new Set<() => Promise<void>>();
  private readonly gone = new AbortController();
  private ended = false;

  constructor(
    private readonly call: LockCall,
    private readonly access: PlatformAccess | undefined,
    private readonly cancelled: AbortSignal,
  ) {}

  /** Aborted when a lock is lost: whoever goes on then works beside somebody else. */
  get lost(): AbortSignal {
    return this.gone.signal;
  }

  readonly take = async (paths: string | readonly string[], options: LockOptions = {}): Promise<AtomLock> => {
    const { mode = 'exclusive', wait = '0s', ttl = TTL_DEFAULT } = options;
    const claims = (typeof paths === 'string' ? [paths] : paths).map((path): Claim => ({ path, mode }));
    // A dry run changes nothing: it must not keep real work from anything either.
    if (this.call.dryRun) return { fence: '0', release: () => Promise.resolve() };
    if (this.access === undefined)
      throw new OpsError(
        'configuration',
        'this worker cannot take locks; give it access: serveAtoms(…, { platform: { url, token } }) with a token of the role worker',
      );
    const ttlMs = durationMs(ttl);
    if (ttlMs < TTL_MIN_MS)
      throw new OpsError('configuration', `a lock lives at least ${TTL_MIN_MS / 1_000}s, not ${ttl}`);
    const until = performance.now() + durationMs(wait);
    for (;;) {
      const sent = performance.now();
      try {
        const { step, attempt, run } = this.call;
        const taken = await this.ask<Taken>('POST', `/v1/runs/${run}/locks`, { step, attempt, claims, ttl });
        return this.hold(taken, ttlMs, sent);
      } catch (error) {
        const code = error instanceof OpsError ? error.code : undefined;
        if ((code !== 'lock-busy' && code !== 'unavailable') || performance.now() + TRY_EVERY_MS > until) throw error;
      }
      await sleep(TRY_EVERY_MS, undefined, { signal: AbortSignal.any([this.cancelled, this.lost]) });
    }
  };

  /** Gives back what is still held; never throws. */
  async end(): Promise<void> {
    this.ended = true;
    await Promise.all([...this.held].map((release) => release()));
  }

  private hold({ fence, covered }: Taken, ttlMs: number, sent: number): AtomLock {
    if (covered === true) return { fence, release: () => Promise.resolve() };
    const lastsMs = ttlMs - Math.max(ttlMs * MARGIN_PART, Math.min(MARGIN_MIN_MS, ttlMs / 2));
    let deadline = sent + lastsMs;
    let timer: NodeJS.Timeout | undefined;
    const lose = (why: string): void => {
      this.held.delete(release);
      clearTimeout(timer);
      this.gone.abort(new OpsError('lock-lost', `the lock ${fence} is lost: ${why}`));
    };
    const renew = async (): Promise<void> => {
      const asked = performance.now();
      try {
        await this.ask('POST', `/v1/locks/${fence}/renew`, { ttl: `${ttlMs}ms` });
        deadline = asked + lastsMs;
      } catch (error) {
        if (error instanceof OpsError && error.code !== 'unavailable') return lose(error.detail);
      }
      if (this.held.has(release)) next();
    };
    const next = (): void => {
      const left = deadline - performance.now();
      if (left <= 0) return lose('it could not be renewed in time');
      timer = setTimeout(() => void renew(), Math.min(ttlMs / 3, left)).unref();
    };
    const release = async (): Promise<void> => {
      if (!this.held.delete(release)) return;
      clearTimeout(timer);
      for (let i = 0; i < RELEASE_TRIES; i += 1) {
        const given = await this.ask('DELETE', `/v1/runs/${this.call.run}/locks/${fence}`).then(
          () => true,
          (error: unknown) => error instanceof OpsError && error.code !== 'unavailable',
        );
        if (given) return;
      }
    };
    this.held.add(release);
    next();
    // Taken while the atom was ending: nobody would give it back.
    if (this.ended) void release();
    return { fence, release };
  }

  private async ask<T>(method: 'POST' | 'DELETE', path: string, body?: unknown): Promise<T> {
    const { url, token } = this.access!;
    const answer = await request(new URL(path, url), {
      method,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body ?? {}),
      signal: AbortSignal.timeout(CALL_MS),
    }).catch((error: unknown) => {
      throw new OpsError(
        'unavailable',
        `control did not answer: ${error instanceof Error ? error.message : String(error)}`,
      );
    });
    const said = (await answer.body.json().catch(() => ({}))) as { code?: string; detail?: string };
    if (answer.statusCode < 300) return said as T;
    const code = said.code !== undefined && isErrorCode(said.code) ? said.code : 'unavailable';
    throw new OpsError(code, said.detail ?? `control answered ${answer.statusCode}`);
  }
}
