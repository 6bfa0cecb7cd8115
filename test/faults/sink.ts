/** The target of every step: counts what was applied per Idempotency-Key, keeps fences, and notices overlapping work. */
import { type RecordedCall, startHttpTarget, type TargetAnswer } from '@opsloop/testing';

export interface Application {
  key: string;
  step: string;
  target: string;
  fence: string;
  /** Calls that asked for it; above 1 the target absorbed repeats. */
  deliveries: number;
}

export interface Sink {
  url: string;
  /** How long one application takes, so that overlaps have time to happen. */
  workMs: number;
  /** In the order in which they were applied. */
  applied: Application[];
  staleFences: number;
  /** Two runs that worked on one target at the same time. */
  overlaps: number;
  /** Calls without key or fence. */
  unmarked: number;
  close(): Promise<void>;
}

export async function startSink(workMs: number): Promise<Sink> {
  const byKey = new Map<string, { application: Application; answer: Promise<TargetAnswer> }>();
  const highest = new Map<string, bigint>();
  const working = new Map<string, number>();

  const work = async (application: Application): Promise<TargetAnswer> => {
    const busy = working.get(application.target) ?? 0;
    if (busy > 0) sink.overlaps += 1;
    working.set(application.target, busy + 1);
    await new Promise((resolve) => setTimeout(resolve, sink.workMs));
    working.set(application.target, working.get(application.target)! - 1);
    return { body: { applied: application.key } };
  };

  const handle = (call: RecordedCall): TargetAnswer | Promise<TargetAnswer> => {
    const [, , step = '', ...rest] = decodeURIComponent(call.path).split('/');
    const target = rest.join('/');
    const key = call.headers['idempotency-key'];
    const fence = call.headers['opsloop-fence'];
    if (typeof key !== 'string' || typeof fence !== 'string') {
      sink.unmarked += 1;
      return { status: 400, body: { detail: 'Idempotency-Key and Opsloop-Fence are needed' } };
    }
    const known = byKey.get(key);
    if (known !== undefined) {
      known.application.deliveries += 1;
      return known.answer;
    }
    if (BigInt(fence) < (highest.get(target) ?? 0n)) {
      sink.staleFences += 1;
      return { status: 409, body: { code: 'stale-fence' } };
    }
    highest.set(target, BigInt(fence));
    const application = { key, step, target, fence, deliveries: 1 };
    sink.applied.push(application);
    const answer = work(application);
    byKey.set(key, { application, answer });
    return answer;
  };

  const http = await startHttpTarget(handle);
  const counts = { applied: [], staleFences: 0, overlaps: 0, unmarked: 0 };
  const sink: Sink = { url: http.url, workMs, ...counts, close: http.close };
  return sink;
}
