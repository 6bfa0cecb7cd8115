/** Kills processes of a cluster all the time, one at a time, while another one of the same app lives. */
import { setTimeout as delay } from 'node:timers/promises';
import type { App, Cluster, Replica } from '../e2e/cluster.spec-kit.js';

const LEAST_MS = 1_000;
const MORE_MS = 2_000;
const LOOK_MS = 50;

export interface Nemesis {
  readonly kills: Record<string, number>;
  /** Time in all for which nobody could be killed, since nobody had somebody beside it. */
  readonly waitedMs: number;
  stop(): Promise<void>;
}

/** Every 1–3 s kills one of the apps' processes and starts it again, in turns by app, until it is told to stop. */
export function killOneAfterTheOther(cluster: Cluster, apps: readonly App[], random: () => number): Nemesis {
  const stopped = new AbortController();
  const nemesis = {
    kills: Object.fromEntries(apps.map((app) => [app, 0])),
    waitedMs: 0,
    stop: async () => {
      stopped.abort();
      await loop;
    },
  };
  const pause = (ms: number) => delay(ms, undefined, { signal: stopped.signal }).catch(() => undefined);
  const loop = (async () => {
    for (let turn = 0; ; turn += 1) {
      await pause(LEAST_MS + random() * MORE_MS);
      const since = performance.now();
      let victim: Replica | undefined;
      while (!stopped.signal.aborted && victim === undefined) {
        // The other app when this one is down to its last process.
        for (let i = 0; i < apps.length && victim === undefined; i += 1)
          victim = await victimOf(cluster, apps[(turn + i) % apps.length]!, random);
        if (victim === undefined) await pause(LOOK_MS);
      }
      nemesis.waitedMs += performance.now() - since;
      if (victim === undefined || stopped.signal.aborted) return;
      await victim.end('SIGKILL');
      nemesis.kills[victim.app]! += 1;
      victim.start();
    }
  })();
  return nemesis;
}

async function victimOf(cluster: Cluster, app: App, random: () => number): Promise<Replica | undefined> {
  const answering = await Promise.all(
    cluster.of(app).map(async (replica) => ((await replica.answers()) ? [replica] : [])),
  );
  const alive = answering.flat();
  return alive.length < 2 ? undefined : alive[Math.floor(random() * alive.length)];
}
