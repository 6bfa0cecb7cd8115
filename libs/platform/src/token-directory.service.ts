import { Injectable } from '@nestjs/common';
import { OpsError } from '@opsloop/contracts';
import type { Principal } from './auth.pure.js';
import { hashToken } from './auth.pure.js';
import { Clock } from './clock.service.js';
import { InternalClient } from './internal-client.service.js';

/** `ops_<id>_<secret>`, as service-catalog makes them; whatever looks otherwise costs nobody a question. */
const TOKEN = /^ops_([A-Za-z0-9_-]{8})_[A-Za-z0-9_-]{43}$/;
/** A revoked token stops working within this time. */
const FRESH_MS = 5_000;
/**
 * How long an answer counts while service-catalog does not answer: an operator must be able to halt everything while
 * one app is being restarted.
 */
const STALE_MS = 600_000;
/** Tokens remembered; a company has fewer, a stranger who guesses has more. */
const REMEMBERED_MAX = 1_000;
/** Questions in flight: guesses beyond that are turned away before they cost the catalog anything. */
const ASKING_MAX = 20;

interface Known {
  principal: Principal | undefined;
  askedAt: number;
  expiresAt: number;
}

/** API tokens. They are kept by service-catalog; every app asks it, with the hash, and remembers the answer shortly. */
@Injectable()
export class TokenDirectory {
  private readonly known = new Map<string, Known>();
  private readonly asking = new Map<string, Promise<Principal | undefined>>();

  constructor(
    private readonly client: InternalClient,
    private readonly clock: Clock,
  ) {}

  /** Who a token belongs to; `undefined` when it is unknown, revoked or expired. */
  async find(token: string, hashed: Buffer = hashToken(token)): Promise<Principal | undefined> {
    const id = TOKEN.exec(token)?.[1];
    if (id === undefined) return undefined;
    const hash = hashed.toString('base64url');
    const now = this.clock.now().getTime();
    const seen = this.known.get(hash);
    if (seen !== undefined && now - seen.askedAt < FRESH_MS) return now < seen.expiresAt ? seen.principal : undefined;
    const pending = this.asking.get(hash) ?? this.ask(id, hash, now);
    return pending.catch((error: unknown) => {
      const usable = seen?.principal !== undefined && now - seen.askedAt < STALE_MS && now < seen.expiresAt;
      if (usable && error instanceof OpsError && error.code === 'unavailable') return seen.principal;
      throw error;
    });
  }

  private ask(id: string, hash: string, now: number): Promise<Principal | undefined> {
    if (this.asking.size >= ASKING_MAX)
      throw new OpsError('overload', 'Too many unknown tokens are being checked; try again');
    const pending = this.client
      .call('POST /internal/catalog/tokens/find', { id, hash })
      .then(({ principal, expiresAt }) => {
        this.remember(hash, {
          principal,
          askedAt: now,
          expiresAt: expiresAt === undefined ? Infinity : Date.parse(expiresAt),
        });
        return principal;
      })
      .finally(() => this.asking.delete(hash));
    this.asking.set(hash, pending);
    return pending;
  }

  private remember(hash: string, known: Known): void {
    this.known.delete(hash);
    const oldest = this.known.keys().next();
    if (this.known.size >= REMEMBERED_MAX && oldest.done !== true) this.known.delete(oldest.value);
    this.known.set(hash, known);
  }
}
