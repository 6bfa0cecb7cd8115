import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { Logger } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { Signals } from '../signals.service.js';

const CHANNEL = 'control_ended';

/** Lets requests wait for the end of a run or the grant of a lock: woken after the commit, in this process or in another. */
@Injectable()
export class RunWaiter implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly waiters = new Map<string, Set<() => void>>();
  private stopListening: (() => Promise<void>) | undefined;
  private off: (() => void) | undefined;

  constructor(
    private readonly db: Database,
    private readonly signals: Signals,
    private readonly logger: Logger,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    // '' comes after a reconnect: anything may have been missed, so everybody looks again.
    this.stopListening = await this.db.listen(CHANNEL, (id) => (id === '' ? this.wakeAll() : this.wake(id)));
    const tell = (id: string): void => {
      this.wake(id);
      // Outside the closing transaction: a notification inside would serialise every commit of the server.
      this.db
        .query(`SELECT pg_notify('${CHANNEL}', $1)`, [id])
        .catch((error: unknown) => this.logger.debug('nobody was notified of an end', { run: id, error }));
    };
    const offs = [this.signals.on('ended', tell), this.signals.on('granted', tell)];
    this.off = () => offs.forEach((off) => off());
  }

  async onApplicationShutdown(): Promise<void> {
    this.off?.();
    this.wakeAll();
    await this.stopListening?.();
  }

  /** Resolves with what `look` finds, as soon as it finds something, or undefined at the deadline. */
  async until<T>(id: string, waitMs: number, look: () => Promise<T | undefined>): Promise<T | undefined> {
    const deadline = Date.now() + waitMs;
    for (;;) {
      const woken = this.woken(id, Math.max(0, deadline - Date.now()));
      // Registered before the look, so that an end in between is not missed.
      const found = await look();
      if (found !== undefined || Date.now() >= deadline) {
        woken.stop();
        return found;
      }
      await woken.promise;
    }
  }

  private woken(id: string, ms: number): { promise: Promise<void>; stop: () => void } {
    let stop = (): void => undefined;
    const promise = new Promise<void>((resolve) => {
      const timer = setTimeout(() => stop(), ms);
      const set = this.waiters.get(id) ?? new Set();
      this.waiters.set(id, set);
      stop = () => {
        clearTimeout(timer);
        set.delete(stop);
        if (set.size === 0) this.waiters.delete(id);
        resolve();
      };
      set.add(stop);
    });
    return { promise, stop: () => stop() };
  }

  private wake(id: string): void {
    for (const stop of [...(this.waiters.get(id) ?? [])]) stop();
  }

  private wakeAll(): void {
    for (const id of [...this.waiters.keys()]) this.wake(id);
  }
}
