import { Injectable } from '@nestjs/common';
import type { Claim } from '@opsloop/contracts';
import type { Tx } from '@opsloop/postgres';
import { AdmissionRepository, type GrantRow } from '../admit/admission.repository.js';
import { type LimitAct, type LimitFacts, limitPaths } from './run-limit.pure.js';

/** A start at the moment its claims were tried. */
export interface Tried {
  flow: string;
  claims: readonly Claim[];
  grant: GrantRow | undefined;
  rankAt: Date;
  ticket: string;
  /** Absent: as the pinned flow says. */
  act?: LimitAct | undefined;
  irDigest?: string | null | undefined;
}

/** The limits of flows are claims like any other; this says what they came to. */
@Injectable()
export class LimitService {
  constructor(private readonly repository: AdmissionRepository) {}

  /** Under the locks of the claims. Undefined when the flow has none, or nothing was tried. */
  async look(tx: Tx, t: Tried): Promise<LimitFacts | undefined> {
    const paths = limitPaths(t.flow, t.claims);
    if (paths.length === 0 || t.grant === undefined) return undefined;
    const facts = { flow: t.flow, paths };
    if (t.grant.fence !== null) return { ...facts, act: 'queue', holders: [], ahead: [] };
    const [act, blockers] = await Promise.all([
      t.act ?? this.repository.onLimitOf(tx, t.irDigest ?? null),
      this.repository.limitBlockers(tx, paths, t),
    ]);
    return { ...facts, act, ...blockers };
  }
}
