import { DOCUMENT_KINDS } from '@opsloop/contracts';
import type {
  AcceptedEvent,
  AdmissionView,
  ApprovalView,
  DeadLetterView,
  DecisionView,
  DocumentKind,
  DocumentView,
  EventView,
  FiringView,
  HaltView,
  IncidentSummary,
  IncidentView,
  Json,
  JsonObject,
  LogEntry,
  Page,
  PlanAnswer,
  PutAnswer,
  ReplayResult,
  RequeueResult,
  RunStatus,
  RunView,
  ScheduleState,
  StatusView,
  TimelineEntry,
  Verdict,
} from '@opsloop/contracts';
import { ApiUnreachable } from './errors.js';
import { HttpApi, segments } from './http.js';
import { RulesClient } from './rules-client.js';
import type { ApiAnswer, ClientOptions, QueryParameters } from './http.js';
import type {
  AdmissionDetailView,
  BulkAnswer,
  BulkBody,
  AutonomyView,
  EventExplanation,
  HaltAnswer,
  HaltBody,
  LockAdmissionBody,
  LockAnswerView,
  LockBody,
  LockView,
  MaintenanceView,
  ForecastBody,
  PolicyFindingView,
  PolicyTestBody,
  PolicyTestView,
  ReadinessView,
  ResourceExplanation,
  RetryView,
  RunAct,
  StartBody,
  SteerView,
  VersionActAnswer,
} from './views.js';
import type {
  CreateTokenBody,
  KeyRotation,
  PlanBody,
  SecretPut,
  SecretView,
  TokenView,
  VerifyAnswer,
  ValidateAnswer,
} from './views-catalog.js';

/** Answer of a start: the run as admitted, or with `wait` the whole run when it ended in time. */
export type StartAnswer = { id: string; status: RunStatus; admission: AdmissionView } & Partial<RunView>;

/** Fifteen calls of a minute at most; a job may take as long each time. */
const VERIFY_MS = 15 * 60_000;

/** The public HTTP API, typed. One method per route; lists come as pages, `http.all` walks them. */
export class OpsloopClient extends RulesClient {
  constructor(options: ClientOptions) {
    super(new HttpApi(options));
  }

  // ---- documents
  putDocument(kind: DocumentKind, name: string, document: unknown): Promise<PutAnswer> {
    return this.http
      .request<PutAnswer>('PUT', documentPath(kind, name), { body: document })
      .then((answer) => answer.body);
  }

  /** A resource is answered as its view, every other kind as a stored document. */
  getDocument<T = DocumentView>(kind: DocumentKind, name: string, version?: string): Promise<T> {
    const path = documentPath(kind, name);
    return this.http.get<T>(version === undefined ? path : `${path}/versions/${encodeURIComponent(version)}`);
  }

  listDocuments<T = DocumentView>(kind: DocumentKind, query: QueryParameters = {}): Promise<Page<T>> {
    return this.http.get(`/v1/${DOCUMENT_KINDS[kind].route}`, query);
  }

  versions(kind: DocumentKind, name: string): Promise<Page<DocumentView>> {
    return this.http.get(`${documentPath(kind, name)}/versions`);
  }

  async deleteDocument(kind: DocumentKind, name: string): Promise<void> {
    await this.http.request('DELETE', documentPath(kind, name));
  }

  flowAct(
    act: 'publish' | 'rollback' | 'deprecate',
    name: string,
    version: string,
    reason?: string,
  ): Promise<VersionActAnswer> {
    return this.http.post(`${documentPath('flow', name)}/${act}`, {
      version,
      ...(reason === undefined ? {} : { reason }),
    });
  }

  /** Findings of documents, checked together against what the server has; nothing is written. */
  validate(documents: readonly unknown[]): Promise<ValidateAnswer> {
    return this.http.post('/v1/flows/validate', { documents });
  }

  /** What a run would do with an input. */
  plan(body: PlanBody): Promise<PlanAnswer> {
    return this.http.post('/v1/flows/plan', body);
  }

  // ---- policies
  /** What the policies would say to a start that nobody makes. */
  testPolicies(body: PolicyTestBody): Promise<PolicyTestView> {
    return this.http.post('/v1/policies/test', body);
  }

  lintPolicies(): Promise<{ items: PolicyFindingView[] }> {
    return this.http.get('/v1/policies/lint');
  }

  policyVersions(name: string): Promise<Page<DocumentView>> {
    return this.http.get(`${documentPath('policy', name)}/versions`);
  }

  /** What admission would say to a start now: every policy, the locks, and when its turn may come. */
  forecast(body: ForecastBody): Promise<AdmissionView> {
    return this.http.post('/v1/admissions/forecast', body);
  }

  // ---- events
  /** Sends one CloudEvent in structured mode. */
  sendEvent(event: JsonObject): Promise<{ items: AcceptedEvent[] }> {
    return this.http
      .request<{ items: AcceptedEvent[] }>('POST', '/v1/events', {
        body: event,
        headers: { 'content-type': 'application/cloudevents+json' },
      })
      .then((answer) => answer.body);
  }

  listEvents(query: QueryParameters = {}): Promise<Page<EventView>> {
    return this.http.get('/v1/events', query);
  }

  getEvent(eventId: string): Promise<EventView> {
    return this.http.get(`/v1/events/${encodeURIComponent(eventId)}`);
  }

  replayEvent(eventId: string, mode: 'shadow' | 'active' = 'shadow'): Promise<{ items: AcceptedEvent[] }> {
    return this.http.post(`/v1/events/${encodeURIComponent(eventId)}/replay`, undefined, { mode });
  }

  /** All that fit, a page at a time: go on with `cursor: nextCursor`. */
  replayEvents(body: JsonObject): Promise<ReplayResult> {
    return this.http.post('/v1/events/replay', body);
  }

  listDeadLetters(query: QueryParameters = {}): Promise<Page<DeadLetterView>> {
    return this.http.get('/v1/dead-letters', query);
  }

  getDeadLetter(id: string): Promise<DeadLetterView> {
    return this.http.get(`/v1/dead-letters/${encodeURIComponent(id)}`);
  }

  requeueDeadLetter(id: string): Promise<{ items: AcceptedEvent[] }> {
    return this.http.post(`/v1/dead-letters/${encodeURIComponent(id)}/requeue`, undefined);
  }

  requeueDeadLetters(filter: JsonObject): Promise<RequeueResult> {
    return this.http.post('/v1/dead-letters/requeue', filter);
  }

  async deleteDeadLetter(id: string): Promise<void> {
    await this.http.request('DELETE', `/v1/dead-letters/${encodeURIComponent(id)}`);
  }

  explainEvent(eventId: string): Promise<EventExplanation> {
    return this.http.get(`/v1/events/${encodeURIComponent(eventId)}/explain`);
  }

  explainResource(path: string): Promise<ResourceExplanation> {
    return this.http.get('/v1/explain', { resource: path });
  }

  getDecision(id: string): Promise<DecisionView> {
    return this.http.get(`/v1/decisions/${encodeURIComponent(id)}`);
  }

  // ---- runs
  /** Starts a flow (`domain/name`) or an atom (`atom/<name>`). The same key never starts twice. */
  start(
    offering: string,
    body: StartBody,
    options: { idempotencyKey?: string; timeoutMs?: number } = {},
  ): Promise<ApiAnswer<StartAnswer>> {
    const { idempotencyKey, timeoutMs } = options;
    return this.http.request('POST', `/v1/catalog/${segments(offering)}/runs`, {
      body,
      ...(idempotencyKey === undefined ? {} : { headers: { 'idempotency-key': idempotencyKey } }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    });
  }

  listRuns(query: QueryParameters = {}): Promise<Page<RunView>> {
    return this.http.get('/v1/runs', query);
  }

  getRun(id: string): Promise<RunView> {
    return this.http.get(`/v1/runs/${encodeURIComponent(id)}`);
  }

  timeline(id: string): Promise<Page<TimelineEntry>> {
    return this.http.get(`/v1/runs/${encodeURIComponent(id)}/timeline`);
  }

  /** Tries an atom against what flows rely on; takes as long as its calls do, at most some minutes. */
  async verifyAtom(name: string, version?: string): Promise<VerifyAnswer> {
    const path = `/v1/catalog/atom/${encodeURIComponent(name)}/verify`;
    const body = version === undefined ? {} : { version };
    return (await this.http.request<VerifyAnswer>('POST', path, { body, timeoutMs: VERIFY_MS })).body;
  }

  /** Lines that the steps of a run said, a page of them. */
  runLogs(id: string, query: QueryParameters = {}): Promise<Page<LogEntry>> {
    return this.http.get(`/v1/runs/${encodeURIComponent(id)}/logs`, query);
  }

  /** Those lines and the ones to come, until the run has ended. */
  followLogs(id: string, query: QueryParameters = {}, signal?: AbortSignal): AsyncGenerator<LogEntry> {
    return this.http.lines(`/v1/runs/${encodeURIComponent(id)}/logs`, { ...query, follow: true }, signal);
  }

  actOnRun(id: string, act: RunAct, body: { reason: string } & JsonObject): Promise<Json> {
    return this.http.post(`/v1/runs/${encodeURIComponent(id)}/${act}`, body);
  }

  /** One run passes the halts that are in its way. */
  allowRun(id: string, reason: string): Promise<{ id: string; halts: string[] }> {
    return this.http.post(`/v1/runs/${encodeURIComponent(id)}/allow`, { reason });
  }

  // ---- secrets and tokens
  /** Values go in and never come out. */
  async putSecret(name: string, value: string, reason?: string): Promise<SecretPut> {
    const body = { value, ...(reason === undefined ? {} : { reason }) };
    return (await this.http.request<SecretPut>('PUT', `/v1/secrets/${encodeURIComponent(name)}`, { body })).body;
  }

  listSecrets(query: QueryParameters = {}): Promise<Page<SecretView>> {
    return this.http.get('/v1/secrets', query);
  }

  async deleteSecret(name: string): Promise<void> {
    await this.http.request('DELETE', `/v1/secrets/${encodeURIComponent(name)}`);
  }

  rotateSecretKey(reason?: string): Promise<KeyRotation> {
    return this.http.post('/v1/secret-keys/rotate', reason === undefined ? {} : { reason });
  }

  /** The only answer that holds the token. */
  createToken(body: CreateTokenBody): Promise<TokenView & { token: string }> {
    return this.http.post('/v1/tokens', body);
  }

  listTokens(query: QueryParameters = {}): Promise<Page<TokenView>> {
    return this.http.get('/v1/tokens', query);
  }

  async revokeToken(id: string): Promise<void> {
    await this.http.request('DELETE', `/v1/tokens/${encodeURIComponent(id)}`);
  }

  /** A closed run again, from where it failed or from a step on; in a running one a step that waits for an operator. */
  retryRun(
    id: string,
    body: { from?: string; items?: string[]; reason: string },
    options: { idempotencyKey?: string } = {},
  ): Promise<RetryView | SteerView> {
    return this.http
      .request<RetryView | SteerView>('POST', `/v1/runs/${encodeURIComponent(id)}/retry`, {
        body,
        ...(options.idempotencyKey === undefined ? {} : { headers: { 'idempotency-key': options.idempotencyKey } }),
      })
      .then((answer) => answer.body);
  }

  /** One act on many runs: look with `dryRun`, then act with the count as `expectedCount`. */
  actOnRuns(body: BulkBody): Promise<BulkAnswer> {
    return this.http.post('/v1/runs/actions', body);
  }

  // ---- approvals
  listApprovals(query: QueryParameters = {}): Promise<Page<ApprovalView>> {
    return this.http.get('/v1/approvals', query);
  }

  getApproval(id: string): Promise<ApprovalView> {
    return this.http.get(`/v1/approvals/${encodeURIComponent(id)}`);
  }

  /** Each person answers once; the same answer again changes nothing. */
  answerApproval(
    id: string,
    body: { answer: 'approve' | 'reject'; reason: string; form?: Json },
  ): Promise<ApprovalView> {
    return this.http.post(`/v1/approvals/${encodeURIComponent(id)}/answer`, body);
  }

  // ---- incidents, maintenance
  listIncidents(query: QueryParameters = {}): Promise<Page<IncidentSummary>> {
    return this.http.get('/v1/incidents', query);
  }

  getIncident(id: string): Promise<IncidentView> {
    return this.http.get(`/v1/incidents/${encodeURIComponent(id)}`);
  }

  listMaintenance(query: QueryParameters = {}): Promise<Page<MaintenanceView>> {
    return this.http.get('/v1/maintenance', query);
  }

  /** Ends the stretch that is open now. */
  endMaintenance(name: string, reason: string): Promise<MaintenanceView> {
    return this.http.post(`/v1/maintenance/${segments(name)}/end`, { reason });
  }

  // ---- schedules
  listSchedules(query: QueryParameters = {}): Promise<Page<ScheduleState>> {
    return this.http.get('/v1/schedules/state', query);
  }

  nextOfSchedule(name: string, query: QueryParameters = {}): Promise<{ items: string[] }> {
    return this.http.get(`${documentPath('schedule', name)}/next`, query);
  }

  firingsOfSchedule(name: string, query: QueryParameters = {}): Promise<Page<FiringView>> {
    return this.http.get(`${documentPath('schedule', name)}/firings`, query);
  }

  actOnSchedule(name: string, act: 'pause' | 'resume', reason: string): Promise<ScheduleState> {
    return this.http.post(`${documentPath('schedule', name)}/${act}`, { reason });
  }

  /** What it would start at its time, now. */
  runSchedule(name: string, reason: string, input?: JsonObject): Promise<{ id: string; verdict: Verdict }> {
    return this.http.post(`${documentPath('schedule', name)}/run`, {
      reason,
      ...(input === undefined ? {} : { input }),
    });
  }

  // ---- autonomy of rules
  listAutonomy(query: QueryParameters = {}): Promise<{ items: AutonomyView[] }> {
    return this.http.get('/v1/autonomy', query);
  }

  resetAutonomy(body: { rule: string; flow?: string; reason: string }): Promise<{ reset: number }> {
    return this.http.post('/v1/autonomy/reset', body);
  }

  // ---- halts, locks, status
  halt(body: HaltBody): Promise<HaltAnswer> {
    return this.http.post('/v1/halts', body);
  }

  listHalts(query: QueryParameters = {}): Promise<Page<HaltView>> {
    return this.http.get('/v1/halts', query);
  }

  liftHalt(id: string, body: { reason: string; perMinute?: number }): Promise<Json> {
    return this.http.post(`/v1/halts/${encodeURIComponent(id)}/lift`, body);
  }

  listLocks(query: QueryParameters = {}): Promise<Page<LockView>> {
    return this.http.get('/v1/locks', query);
  }

  /** The lease of a person; repeated as it is while it waits. */
  takeLock(body: LockBody): Promise<LockAnswerView> {
    return this.http.post('/v1/locks', body);
  }

  renewLock(fence: string, ttl: string): Promise<{ fence: string; expiresAt: string }> {
    return this.http.post(`/v1/locks/${encodeURIComponent(fence)}/renew`, { ttl });
  }

  assertLock(fence: string, paths: readonly string[]): Promise<{ fence: string; current: true }> {
    return this.http.post(`/v1/locks/${encodeURIComponent(fence)}/assert`, { paths });
  }

  async releaseLock(fence: string): Promise<void> {
    await this.http.request('DELETE', `/v1/locks/${encodeURIComponent(fence)}`);
  }

  // ---- admissions
  /** A lock for work outside: it passes the same admission as runs, waits in the same queue, and stands in the same lists. */
  admitLock(body: LockAdmissionBody): Promise<AdmissionDetailView> {
    return this.http.post('/v1/admissions', body);
  }

  listAdmissions(query: QueryParameters = {}): Promise<Page<AdmissionDetailView>> {
    return this.http.get('/v1/admissions', query);
  }

  /** With `wait` (at most 30s) answered as soon as it no longer waits. */
  getAdmission(id: string, wait?: string): Promise<AdmissionDetailView> {
    return this.http.get(`/v1/admissions/${encodeURIComponent(id)}`, wait === undefined ? {} : { wait });
  }

  /** Cancels what waits, gives a lock for work outside back. */
  async endAdmission(id: string): Promise<void> {
    await this.http.request('DELETE', `/v1/admissions/${encodeURIComponent(id)}`);
  }

  breakLock(fence: string, reason: string): Promise<Json> {
    return this.http.post(`/v1/locks/${encodeURIComponent(fence)}/break`, { reason });
  }

  status(): Promise<StatusView> {
    return this.http.get('/v1/status');
  }

  /** `/readyz` answers 503 with the same body while a part is missing. */
  async readiness(): Promise<ReadinessView> {
    const response = await fetch(`${this.http.url}/readyz`, { signal: AbortSignal.timeout(5_000) }).catch(
      (cause: unknown) => {
        throw new ApiUnreachable(this.http.url, cause instanceof Error ? cause.message : String(cause), { cause });
      },
    );
    const body = (await response.json().catch(() => undefined)) as (ReadinessView & { title?: string }) | undefined;
    if (body?.parts === undefined)
      throw new ApiUnreachable(this.http.url, `/readyz answered ${response.status} without its parts`);
    return body;
  }
}

/** `/v1/flows/fleet/restart`, `/v1/resources/host/dc1/a`, … */
export function documentPath(kind: DocumentKind, name: string): string {
  return `/v1/${DOCUMENT_KINDS[kind].route}/${segments(name)}`;
}
