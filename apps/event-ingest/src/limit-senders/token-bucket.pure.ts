/** How much a sender may send: filled at a steady rate up to a bound, so that a burst passes and a flood does not. */
export interface BucketSize {
  perSecond: number;
  burst: number;
}

export interface Bucket {
  tokens: number;
  /** When `tokens` was true, in ms. */
  at: number;
}

/** Takes `cost` tokens, or says after how many seconds they will be there. A cost above the burst needs a full bucket. */
export function take(
  bucket: Bucket | undefined,
  size: BucketSize,
  cost: number,
  nowMs: number,
): { bucket: Bucket; waitSec: number } {
  const before = bucket ?? { tokens: size.burst, at: nowMs };
  const elapsed = Math.max(0, nowMs - before.at) / 1_000;
  const tokens = Math.min(size.burst, before.tokens + elapsed * size.perSecond);
  const needed = Math.min(cost, size.burst);
  if (tokens >= needed) return { bucket: { tokens: tokens - cost, at: nowMs }, waitSec: 0 };
  return { bucket: { tokens, at: nowMs }, waitSec: Math.max(1, Math.ceil((needed - tokens) / size.perSecond)) };
}

/** Ten seconds' worth at once, where the document does not say: alerts come in bursts when something breaks. */
const BURST_SECONDS = 10;

export function sizeOf(limit: { perSecond: number; burst?: number }): BucketSize {
  return { perSecond: limit.perSecond, burst: limit.burst ?? Math.max(1, Math.ceil(limit.perSecond * BURST_SECONDS)) };
}
