import { documentTableSql } from '@opsloop/postgres';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { acquireSql } from '../lock/lock.sql.js';

const TABLES = `
CREATE SEQUENCE control.fence CACHE 1;
CREATE SEQUENCE control.ticket CACHE 1;

-- Granted claims. A run's have expires_at = infinity: they end with the run, never with a clock.
CREATE TABLE control.claim (
  tenant text NOT NULL, path text COLLATE "C" NOT NULL, fence bigint NOT NULL, exclusive boolean NOT NULL,
  holder text NOT NULL, owner text NOT NULL, principal text, run_id uuid, step text,
  since timestamptz NOT NULL DEFAULT clock_timestamp(), expires_at timestamptz NOT NULL, releasing boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant, path, fence));
CREATE INDEX claim_fence ON control.claim (tenant, fence);
CREATE INDEX claim_holder ON control.claim (tenant, holder);
CREATE INDEX claim_run ON control.claim (tenant, run_id) WHERE run_id IS NOT NULL;
CREATE INDEX claim_expiry ON control.claim (expires_at) WHERE expires_at < 'infinity';

-- Claims that somebody waits for. alive_until is infinity for runs and the heartbeat's end for people.
CREATE TABLE control.waiter (
  tenant text NOT NULL, path text COLLATE "C" NOT NULL, ticket bigint NOT NULL, exclusive boolean NOT NULL,
  rank_at timestamptz NOT NULL, owner text NOT NULL, run_id uuid, alive_until timestamptz NOT NULL,
  PRIMARY KEY (tenant, path, ticket));
CREATE INDEX waiter_ticket ON control.waiter (tenant, ticket);

CREATE TABLE control.lock_request (
  tenant text NOT NULL, holder text NOT NULL, ticket bigint NOT NULL, rank_at timestamptz NOT NULL,
  wait_until timestamptz NOT NULL, alive_until timestamptz NOT NULL, PRIMARY KEY (tenant, holder));

-- One row per admission; id = run id. It outlives Temporal's retention.
CREATE TABLE control.admission (
  tenant text NOT NULL, id uuid NOT NULL, kind text NOT NULL CHECK (kind IN ('run', 'lock')),
  state text NOT NULL CHECK (state IN ('queued', 'held', 'needs-approval', 'admitted', 'started', 'closed', 'rejected', 'coalesced', 'withdrawn', 'cancelled', 'expired')),
  request jsonb NOT NULL, flow text NOT NULL, version text, effect text, ir_digest text, atoms text[] NOT NULL DEFAULT '{}',
  targets text[] NOT NULL, claims jsonb, own_claims jsonb, tier text NOT NULL, rule text, decision_id uuid, initiator jsonb NOT NULL,
  coalesce_key text, into_id uuid, ticket bigint NOT NULL, rank_at timestamptz NOT NULL,
  next_try_at timestamptz NOT NULL DEFAULT '-infinity', valid_until timestamptz NOT NULL,
  fence bigint, consulted jsonb NOT NULL DEFAULT '[]', reason text, workflow_id text, temporal_run_id text,
  created_at timestamptz NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()), started_at timestamptz, ended_at timestamptz,
  claimed_until timestamptz, start_attempts int NOT NULL DEFAULT 0, checked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  status text, output jsonb, problem jsonb, steps jsonb, outcome jsonb, withdrawn text[] NOT NULL DEFAULT '{}',
  dry_run boolean NOT NULL DEFAULT false, cancel_reason text, lock_ttl interval, history jsonb NOT NULL DEFAULT '[]',
  PRIMARY KEY (tenant, id));
-- Identical work that is alive exists once, whichever process admits it.
CREATE UNIQUE INDEX admission_coalesce ON control.admission (tenant, coalesce_key)
  WHERE coalesce_key IS NOT NULL AND state IN ('queued', 'held', 'needs-approval', 'admitted', 'started');
CREATE INDEX admission_waiting ON control.admission (tenant, rank_at, ticket) WHERE state = 'queued';
CREATE INDEX admission_open ON control.admission (tenant, state, created_at) WHERE state IN ('queued', 'held', 'needs-approval', 'admitted', 'started');
CREATE INDEX admission_list ON control.admission (tenant, created_at DESC, id DESC);
CREATE INDEX admission_workflow ON control.admission (workflow_id) WHERE workflow_id IS NOT NULL;
-- Past durations of a flow, for the ETA of what waits behind it.
CREATE INDEX admission_durations ON control.admission (tenant, flow, ended_at DESC) WHERE status = 'succeeded';
CREATE INDEX admission_ended ON control.admission (tenant, ended_at) WHERE ended_at IS NOT NULL;

-- Compiled flows, once per content; a queued run starts exactly what was pinned when it was admitted.
CREATE TABLE control.ir (tenant text NOT NULL, digest text NOT NULL, body jsonb NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (tenant, digest));

CREATE TABLE control.halt (
  tenant text NOT NULL, id uuid NOT NULL, scope jsonb NOT NULL, running text NOT NULL CHECK (running IN ('pause', 'cancel', 'leave')),
  reason text NOT NULL, made_by text NOT NULL, since timestamptz NOT NULL DEFAULT clock_timestamp(), until timestamptz,
  lifted_at timestamptz, lifted_by text, lift_reason text, PRIMARY KEY (tenant, id));
CREATE INDEX halt_live ON control.halt (tenant) WHERE lifted_at IS NULL;

-- First answers by Idempotency-Key, kept 7 days.
CREATE TABLE control.idempotency (
  tenant text NOT NULL, run_id uuid NOT NULL, body_digest text NOT NULL, status int, answer jsonb,
  at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (tenant, run_id));
CREATE INDEX idempotency_at ON control.idempotency (at);

-- Acts of operators on locks and halts; acts on runs stand in the run's own history.
CREATE TABLE control.act (
  tenant text NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
  act text NOT NULL, ref text NOT NULL, made_by text NOT NULL, reason text NOT NULL, detail jsonb, PRIMARY KEY (tenant, id));
`;

export class CreateControl1700000003000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(TABLES);
    await runner.query(acquireSql);
    await runner.query(documentTableSql('control'));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP SCHEMA control CASCADE');
  }
}
