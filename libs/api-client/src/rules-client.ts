import type {
  AgreementView,
  BacktestView,
  DecisionView,
  DocumentView,
  EventMessage,
  Json,
  JsonObject,
  Page,
  PutAnswer,
  ResourceView,
  RolloutState,
} from '@opsloop/contracts';
import { segments } from './http.js';
import type { HttpApi, QueryParameters } from './http.js';
import type { BacktestBody, RuleTestBody, RuleTestView } from './views.js';

export interface RulePatchBody {
  mode?: string;
  /** `null`: the live version acts on everything again. */
  rollout?: Partial<RolloutState> | null;
  /** The stored version that is live from now on. */
  live?: string;
  reason: string;
}

/** All that is stored of one episode. */
export interface EpisodeStoryView {
  episode: {
    id: string;
    rule: string;
    version: string;
    resource: string;
    state: string;
    openedAt: string;
    changedAt: string;
    eventId: string;
  };
  resources: ResourceView[];
  events: {
    event: EventMessage;
    verdicts: Record<string, { verdict: string; because?: { text: string }; decisionIds?: string[] }>;
  }[];
  changes: { path: string; at: string; changes: JsonObject; cause?: string }[];
  decisions: DecisionView[];
  cut: boolean;
}

/** An episode that has ended without its goal. */
export interface ExhaustedView {
  id: string;
  rule: string;
  resource: string;
  state: string;
  changedAt: string;
  reason?: string;
  blockedUntil?: string;
}

/** What a source would make of a delivery. */
export interface TestedDeliveryView {
  source: string;
  auth: string;
  items: {
    id: string;
    type: string;
    source: string;
    subject?: string;
    time: string;
    data: Json;
    state?: JsonObject;
    unmapped?: string;
  }[];
}

const pathOf = (name: string): string => `/v1/rules/${segments(name)}`;

/** What is done with rules beside storing them: trying them, watching them, and changing what they may. */
export class RulesClient {
  constructor(readonly http: HttpApi) {}

  patchRule(name: string, patch: RulePatchBody): Promise<DocumentView> {
    return this.http.request<DocumentView>('PATCH', pathOf(name), { body: patch }).then((answer) => answer.body);
  }

  /** Stores a version beside the live one, to be tried. */
  putTriedRule(name: string, rule: unknown): Promise<PutAnswer> {
    return this.http
      .request<PutAnswer>('PUT', pathOf(name), { body: rule, query: { live: 'false' } })
      .then((answer) => answer.body);
  }

  agreement(name: string, query: QueryParameters = {}): Promise<AgreementView> {
    return this.http.get(`${pathOf(name)}/agreement`, query);
  }

  /** Rules that only watch or try a version, with their figures. */
  trials(): Promise<{ items: AgreementView[] }> {
    return this.http.get('/v1/rules/trials');
  }

  episodeStory(id: string): Promise<EpisodeStoryView> {
    return this.http.get(`/v1/episodes/${encodeURIComponent(id)}/story`);
  }

  /** Episodes that have given up and still keep new ones from opening, newest first. */
  async exhausted(): Promise<ExhaustedView[]> {
    const page = await this.http.get<Page<ExhaustedView>>('/v1/episodes', { state: 'exhausted', limit: 100 });
    const now = new Date().toISOString();
    return page.items.filter(({ blockedUntil }) => (blockedUntil ?? '') > now);
  }

  testSource(name: string, delivery: { headers: Record<string, string>; body: string }): Promise<TestedDeliveryView> {
    return this.http.post(`/v1/sources/${encodeURIComponent(name)}/test`, delivery);
  }

  testRule(body: RuleTestBody): Promise<RuleTestView> {
    return this.http.post('/v1/rules/test', body);
  }

  backtest(body: BacktestBody): Promise<BacktestView> {
    return this.http.post('/v1/rules/backtest', body);
  }

  getBacktest(id: string): Promise<BacktestView> {
    return this.http.get(`/v1/rules/backtest/${encodeURIComponent(id)}`);
  }

  /** A whole set of rules; all of it judges from one moment on, or none. */
  putRules(items: readonly Json[]): Promise<{ items: PutAnswer[] }> {
    return this.http
      .request<{ items: PutAnswer[] }>('PUT', '/v1/rules', { body: { items: [...items] } })
      .then((answer) => answer.body);
  }
}
