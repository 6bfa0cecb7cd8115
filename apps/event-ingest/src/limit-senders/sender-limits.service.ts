import { Injectable } from '@nestjs/common';
import { OpsError } from '@opsloop/contracts';
import { take } from './token-bucket.pure.js';
import type { Bucket, BucketSize } from './token-bucket.pure.js';

/** Senders remembered: sources and tenants are documents, so more than a few hundred is an accident. 1 MB at most. */
const SENDERS_MAX = 10_000;

/** Rates of senders, per process: a limit keeps one of them from filling the queue, it is no bill. */
@Injectable()
export class SenderLimits {
  private readonly buckets = new Map<string, Bucket>();

  /** Throws when the sender has used up what it may send; nothing is taken then. */
  charge(sender: string, size: BucketSize, cost: number, busy: 429 | 503): void {
    const { bucket, waitSec } = take(this.buckets.get(sender), size, cost, performance.now());
    // Deleted and set again: the map is in order of use, and the one unused for longest, which is full by now, goes.
    this.buckets.delete(sender);
    this.buckets.set(sender, bucket);
    if (this.buckets.size > SENDERS_MAX) this.buckets.delete(this.buckets.keys().next().value!);
    if (waitSec === 0) return;
    throw new OpsError(
      busy === 429 ? 'rate-limit' : 'overload',
      `${sender} may send ${size.perSecond} events a second and ${size.burst} at once; nothing of this request was stored, send it again in ${waitSec} s`,
      { retryAfterSec: waitSec },
    );
  }
}
