// Acquire and release over HTTP, as people and scripts use it, on distinct paths and on one hot path.
import { say, spread, summary } from './stats.mjs';

const SECONDS = 4;
/** Each figure is measured this often; the spread of the throughputs is printed beside the median. */
const REPEATS = 3;
/** A waiter asks again this often; its ticket keeps its place. */
const ASK_AGAIN_MS = 5;

export async function benchLock({ api }) {
  await hammer(api, 8, false, 'warm');
  for (const [clients, hot] of [
    [1, false],
    [8, false],
    [64, false],
    [8, true],
  ]) {
    const rates = [];
    const times = [];
    for (let i = 0; i < REPEATS; i++) {
      const one = await hammer(api, clients, hot, `${i}`);
      rates.push(one.length / SECONDS);
      times.push(...one);
    }
    const rate = summary(rates);
    say(
      'lock',
      `${clients} clients, ${hot ? 'one hot path' : 'distinct paths'}`,
      `${rate.p50.toFixed(0)} acquire+release/s (${rate.min.toFixed(0)}–${rate.max.toFixed(0)}), ${spread(summary(times))}`,
    );
  }
}

async function hammer(api, clients, hot, round) {
  const until = performance.now() + SECONDS * 1_000;
  const times = [];
  const client = async (n) => {
    for (let i = 0; performance.now() < until; i++) {
      const path = hot ? 'bench/hot' : `bench/c${n}/i${i % 50}`;
      const began = performance.now();
      const lock = await take(api, path, `bench-${round}-${n}-${i}`);
      await api.send('DELETE', `/v1/locks/${lock.fence}`);
      times.push(performance.now() - began);
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, n) => client(n)));
  return times;
}

/** Waits in the queue when the path is taken: the POST is repeated as the ticket's heartbeat. */
async function take(api, path, owner) {
  const body = { claims: [{ path, mode: 'exclusive' }], owner, ttl: '30s', wait: '10s' };
  for (;;) {
    const answer = await api.post('/v1/locks', body);
    if (answer.fence !== undefined) return answer;
    await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
  }
}
