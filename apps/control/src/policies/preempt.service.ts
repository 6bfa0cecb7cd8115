import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { OpsError } from '@opsloop/contracts';
import { Logger, type Principal } from '@opsloop/platform';
import { OperateService } from '../runs/operate.service.js';
import { RunReader } from '../runs/run-reader.service.js';
import { Signals } from '../signals.service.js';
import { SteerService } from '../steer/steer.service.js';

const OPSLOOP = (tenant: string): Principal => ({
  tenant,
  kind: 'service',
  name: 'opsloop',
  roles: ['service'],
  groups: [],
});
/** Of calls and sub-flows that are under way: until they end, the run is at no safe point. */
const BUSY = new Set(['call', 'run']);

/** Lets runs of lower tiers give way: they end the step they are at, start no other, and are cancelled there. */
@Injectable()
export class PreemptService implements OnApplicationBootstrap, OnApplicationShutdown {
  private off: (() => void) | undefined;
  private readonly acting = new Set<string>();

  constructor(
    private readonly reader: RunReader,
    private readonly steer: SteerService,
    private readonly operate: OperateService,
    private readonly signals: Signals,
    private readonly logger: Logger,
  ) {}

  onApplicationBootstrap(): void {
    this.off = this.signals.on('preempt', (id, facts) => {
      for (const run of facts.runs)
        this.giveWay(run.id, `it gives way to ${id} (${facts.tier}), as ${facts.policy} wants`).catch(
          (error: unknown) =>
            this.logger.warn('a run could not be told to give way; it is tried again', { run: run.id, error }),
        );
    });
  }

  onApplicationShutdown(): void {
    this.off?.();
  }

  /** One step towards the safe point; whoever waits for it looks again. Repeats are harmless. */
  private async giveWay(id: string, reason: string): Promise<void> {
    if (this.acting.has(id)) return;
    this.acting.add(id);
    try {
      const row = await this.reader.row('default', id);
      if (row.state !== 'started' || row.cancel_reason !== null) return;
      const who = OPSLOOP(row.tenant);
      if (!row.paused) await this.steer.steer(who, id, { act: 'pause', scope: 'flow' }, reason, 'preempt');
      const { steps, stale } = await this.reader.liveSteps(row);
      if (stale === true || steps?.some((s) => BUSY.has(s.verb) && s.status === 'running') === true) return;
      await this.operate.cancel(who, id, reason);
    } catch (error) {
      // It has ended in this moment, or takes no acts: then it is cancelled where it stands, as by a person.
      if (error instanceof OpsError && error.code === 'run-closed') return;
      throw error;
    } finally {
      this.acting.delete(id);
    }
  }
}
