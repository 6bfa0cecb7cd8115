import { Injectable } from '@nestjs/common';
import { type OperatorAct, OpsError, type RunStatus, type SteerAct, type TimelineEntry } from '@opsloop/contracts';
import { messageId, newId } from '@opsloop/contracts/ids';
import { Clock, type Principal } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { WAITING_STATES } from '../admit/admission-row.js';
import { RunReader } from '../runs/run-reader.service.js';
import { SteerClient } from './steer-client.service.js';
import { actOf, titleOf } from './steer.pure.js';

export interface SteerView {
  id: string;
  status: RunStatus;
  /** False: it was so already. */
  applied: boolean;
  /** Whether a pause of an operator is in force. */
  paused: boolean;
}

/** Acts of people on a run while it runs. The workflow decides; what it did stands in the run's story. */
@Injectable()
export class SteerService {
  constructor(
    private readonly db: Database,
    private readonly reader: RunReader,
    private readonly client: SteerClient,
    private readonly clock: Clock,
  ) {}

  /** `key` makes a repeat of the request the same act. */
  async steer(principal: Principal, id: string, act: SteerAct, reason: string, key?: string): Promise<SteerView> {
    const row = await this.reader.row(principal.tenant, id);
    if (WAITING_STATES.includes(row.state))
      throw new OpsError('conflict', `The run ${id} has not begun: cancel it, or put a halt over it`);
    if (row.state === 'admitted')
      throw new OpsError('unavailable', `The run ${id} is just being started: ask again`, { retryAfterSec: 1 });
    if (row.state !== 'started') throw new OpsError('run-closed', `The run ${id} has already ended`);
    const at = this.clock.now().toISOString();
    const by = principal.name;
    const request = {
      ...act,
      id: key === undefined ? newId() : messageId('steer', principal.tenant, id, by, key),
      by,
      reason,
      at,
    };
    const { applied, paused } = await this.client.steer(row.workflow_id!, request);
    await this.note(principal.tenant, id, actOf(act, { at, by, reason }), paused, applied);
    return { id, status: paused ? 'paused' : 'running', applied, paused };
  }

  /** An act that changed nothing is noted only when the note of the one before was lost on the way. */
  private async note(tenant: string, id: string, act: OperatorAct, paused: boolean, applied: boolean): Promise<void> {
    const entry: TimelineEntry = { at: act.at, kind: 'operator', title: titleOf(act), ref: act.by };
    const { at: _at, by: _by, reason: _reason, ...same } = act;
    await this.db.query(
      `UPDATE control.admission SET paused = $3,
          acts = CASE WHEN $6 OR NOT acts @> $7::jsonb THEN acts || $4::jsonb ELSE acts END,
          history = CASE WHEN $6 OR NOT acts @> $7::jsonb THEN history || $5::jsonb ELSE history END
        WHERE tenant = $1 AND id = $2`,
      [tenant, id, paused, JSON.stringify([act]), JSON.stringify([entry]), applied, JSON.stringify([same])],
    );
  }
}
