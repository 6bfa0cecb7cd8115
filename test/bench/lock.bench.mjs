// Acquire and release over HTTP, as people and scripts use it, on distinct paths and on one hot path.
import { ms, summary } from './stats.mjs';

const SECONDS = 4;

export async function benchLock({ api }) {
  for (const [clients, hot] of [[1, false], [8, false], [64, false], [8, true]]) {
    const { count, times } = await hammer(api, clients, hot);
    const s = summary(times);
    process.stdout.write(
      `lock    ${String(clients).padStart(2)} clients, ${hot ? 'one hot path ' : 'distinct paths'}: ${(count / SECONDS).toFixed(0)} acquire+release/s, p50 ${ms(s.p50)}, p99 ${ms(s.p99)}\n`,
    );
  }
}

async function hammer(api, clients, hot) {
  const until = performance.now() + SECONDS * 1_000;
  const times = [];
  let count = 0;
  const client = async (n) => {
    for (let i = 0; performance.now() < until; i++) {
      const path = hot ? 'bench/hot' : `bench/c${n}/i${i % 50}`;
      const began = performance.now();
      const lock = await take(api, path, `bench-${n}-${i}`);
      await api.send('DELETE', `/v1/locks/${lock.fence}`);
      times.push(performance.now() - began);
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, n) => client(n)));
  return { count, times };
}

/** Waits in the queue when the path is taken: the POST is repeated as the ticket's heartbeat. */
async function take(api, path, owner) {
  const body = { claims: [{ path, mode: 'exclusive' }], owner, ttl: '30s', wait: '10s' };
  for (;;) {
    const answer = await api.post('/v1/locks', body);
    if (answer.fence !== undefined) return answer;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
