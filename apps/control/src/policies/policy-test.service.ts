import { Injectable } from '@nestjs/common';
import {
  type Consulted,
  type FieldError,
  type Initiator,
  type Json,
  type JsonObject,
  OpsError,
  type Tier,
} from '@opsloop/contracts';
import { newId } from '@opsloop/contracts/ids';
import { validateDocument } from '@opsloop/dsl';
import { Clock, type Principal } from '@opsloop/platform';
import { Database } from '@opsloop/postgres';
import { weighedOf } from '../admit/admit.pure.js';
import { OfferingService } from '../admit/offering.service.js';
import { planStart, withDefaults } from '../admit/plan.pure.js';
import { planOf } from '../approvals/policy-plan.pure.js';
import { refOf } from '../catalog-runs/catalog-runs.service.js';
import { rankOf } from '../lock/lock.pure.js';
import { nextStretch } from './calendar.pure.js';
import { NO_DEMAND, weigh } from './demand.pure.js';
import { carefully } from './defaults.pure.js';
import { PolicyGate } from './gate.service.js';
import { lintPolicies, type PolicyFinding } from './lint.pure.js';
import { mismatch } from './match.pure.js';
import { type Policy, policyErrors, readPolicy } from './policy.pure.js';
import { decidePolicies, type PolicyVerdict } from './policy-verdict.pure.js';
import { PolicyService } from './policy.service.js';

export interface PolicyTest {
  flow: string;
  version?: string;
  input: Json;
  tier: Tier;
  initiator?: Initiator;
  rule?: string;
  at?: string;
  policies: JsonObject[];
}

export interface PolicyTestAnswer {
  /** What the policies come to; `ok` goes on to the locks. */
  said: PolicyVerdict['said'];
  reason?: string;
  at: string;
  targets: string[];
  policies: {
    name: string;
    type: Policy['type'];
    layer: Policy['layer'];
    matches: boolean;
    /** Why it does not match. */
    why?: string;
    /** What each of its checks saw and said. */
    lines: Omit<Consulted, 'policy'>[];
    /** Of a freeze that is not in force: when it begins. */
    next?: string;
  }[];
  findings: PolicyFinding[];
}

/** Greater than any ticket: behind everybody who waits with the same rank. */
const LAST_TICKET = '9223372036854775807';

/** Dry evaluation: the policies in force, with some that are not yet, against a start that nobody makes. */
@Injectable()
export class PolicyTestService {
  constructor(
    private readonly db: Database,
    private readonly policies: PolicyService,
    private readonly offerings: OfferingService,
    private readonly gate: PolicyGate,
    private readonly clock: Clock,
  ) {}

  async test(principal: Principal, t: PolicyTest): Promise<PolicyTestAnswer> {
    const all = withNew(await this.policies.inForce(), t.policies);
    const now = t.at === undefined ? this.clock.now() : new Date(t.at);
    const ref = refOf(t.flow, t.version);
    const [offering, config] = await Promise.all([this.offerings.resolve(ref), this.offerings.config()]);
    const id = newId();
    const initiator = t.initiator ?? { kind: principal.kind, name: principal.name };
    const start = {
      id,
      tenant: principal.tenant,
      ref,
      input: t.input,
      targets: [],
      tier: t.tier,
      initiator,
      coalesce: false,
      correlationId: id,
      hops: 0,
      at: now.toISOString(),
    };
    const request = withDefaults(start, offering.inputSchema);
    const plan = planStart(request, offering, config);
    const subject = { ...weighedOf(request, plan), ...(t.rule === undefined ? {} : { rule: t.rule, caused: true }) };
    const world = await this.policies.worldOf(all, subject);
    const demand = carefully(weigh(all, subject, world, now), all, subject, world)?.demand ?? NO_DEMAND;
    const at = {
      id,
      ticket: LAST_TICKET,
      rankAt: rankOf(t.tier, this.clock.now()),
      flow: plan.flow,
      tier: t.tier,
      initiator,
      plan: planOf(plan, request.input),
      isNew: false,
    };
    const facts = await this.db.inTransaction(principal.tenant, (tx) => this.gate.look(tx, demand, at));
    const { said, reason, lines } = decidePolicies(facts);
    return {
      said,
      ...(reason === undefined ? {} : { reason }),
      at: now.toISOString(),
      targets: plan.targets,
      policies: all.map((p) => {
        const why = mismatch(p.match, subject);
        const mine = lines
          .filter((l) => l.policy.split(', ').includes(p.name))
          .map(({ saw, said: s }) => ({ saw, said: s }));
        const next =
          p.type === 'freeze' && mine.length === 0 ? nextStretch(p.during, now)?.from.toISOString() : undefined;
        const { name, type, layer } = p;
        return {
          name,
          type,
          layer,
          matches: why === undefined,
          ...(why === undefined ? {} : { why }),
          lines: mine,
          ...(next === undefined ? {} : { next }),
        };
      }),
      findings: lintPolicies(all),
    };
  }
}

/** The policies in force with others in the place of those of the same name; what is wrong with them is said at once. */
function withNew(inForce: readonly Policy[], documents: readonly JsonObject[]): Policy[] {
  const errors: FieldError[] = [];
  const fresh = documents.map((body, i) => {
    const { findings } = validateDocument('policy', body);
    const wrong: FieldError[] = findings.filter((f) => f.severity === 'error');
    if (wrong.length === 0) wrong.push(...policyErrors(body));
    errors.push(...wrong.map(({ pointer, message }) => ({ pointer: `/policies/${i}${pointer}`, message })));
    return wrong.length === 0 ? [readPolicy(String(body['name']), body)] : [];
  });
  if (errors.length > 0)
    throw new OpsError('validation', `The policies: ${errors[0]!.pointer} ${errors[0]!.message}`, { errors });
  const names = new Set(fresh.flat().map((p) => p.name));
  return [...inForce.filter((p) => !names.has(p.name)), ...fresh.flat()];
}
