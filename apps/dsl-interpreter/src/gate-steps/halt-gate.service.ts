import { Inject, Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { GateContext, HaltSnapshot } from '@opsloop/contracts';
import { InternalClient, Logger } from '@opsloop/platform';
import { judge, SNAPSHOT_AGE_MAX_MS, type GateVerdict } from './halt-gate.pure.js';

const POLL_MS = 500;
/** With the age limit of 1.5 s this keeps the promise of 2 s even when an answer is slow. */
const ASK_TIMEOUT_MS = 1_000;

/**
 * Stops steps under a halt. Keeps a picture of all halts that is at most half a second old; when control does not
 * answer and the picture grows old, nothing that changes anything starts.
 */
@Injectable()
export class HaltGate implements OnApplicationBootstrap, OnApplicationShutdown {
  private picture: { snapshot: HaltSnapshot; askedAt: number } | undefined;
  private asking: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private failure: string | undefined;

  constructor(
    @Inject(InternalClient) private readonly client: InternalClient,
    @Inject(Logger) private readonly logger: Logger,
    @Inject(HttpAdapterHost) private readonly http: HttpAdapterHost,
  ) {}

  /** Asks once this process listens: before that control, which may be this very process, cannot answer. */
  onApplicationBootstrap(): void {
    this.http.listen$.subscribe(() => {
      void this.ask();
      this.timer = setInterval(() => void this.ask(), POLL_MS);
      this.timer.unref();
    });
  }

  onApplicationShutdown(): void {
    clearInterval(this.timer);
  }

  /**
   * Throws `halted` when the step must not start. A refusal makes the run wait for seconds, so it is never given on a
   * picture from before the step came: a lifted halt wakes runs at once, and they must not meet its shadow here.
   */
  async check(gate: GateContext, run: string): Promise<void> {
    if (gate.effect === 'read') return;
    const arrivedAt = performance.now();
    if (this.ageMs() > SNAPSHOT_AGE_MAX_MS) await this.ask();
    // A question that was under way when the step came may be answered with what was before it; the second is not.
    for (
      let asked = 0;
      !this.verdict(gate, run).go && asked < 2 && (this.picture?.askedAt ?? 0) < arrivedAt;
      asked += 1
    ) {
      await this.ask();
    }
    const verdict = this.verdict(gate, run);
    if (!verdict.go) throw verdict.error;
  }

  private verdict(gate: GateContext, run: string): GateVerdict {
    const picture = this.picture === undefined ? undefined : { snapshot: this.picture.snapshot, ageMs: this.ageMs() };
    return judge(gate, picture, this.failure, run);
  }

  private ageMs(): number {
    return this.picture === undefined ? Number.POSITIVE_INFINITY : performance.now() - this.picture.askedAt;
  }

  /** One question at a time; the age counts from when it was asked, by our own clock. */
  private ask(): Promise<void> {
    this.asking ??= this.fetchSnapshot().finally(() => (this.asking = undefined));
    return this.asking;
  }

  private async fetchSnapshot(): Promise<void> {
    const askedAt = performance.now();
    try {
      const snapshot = await this.client.call('POST /internal/halts', {}, {}, { timeoutMs: ASK_TIMEOUT_MS });
      this.picture = { snapshot, askedAt };
      if (this.failure !== undefined) this.logger.info('control answers again, steps may start');
      this.failure = undefined;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (this.failure === undefined)
        this.logger.warn('control does not answer; steps that change anything wait', { reason });
      this.failure = reason;
    }
  }
}
