import type { Page, Problem } from '@opsloop/contracts';
import { ApiProblem, ApiUnreachable } from './errors.js';

export interface ClientOptions {
  /** Origin of the API, such as http://127.0.0.1:7300. */
  url: string;
  token?: string;
  /** Default 30 s; a run that is waited for has its own time on top. */
  timeoutMs?: number;
}

export type QueryValue = string | number | boolean | undefined | readonly string[];
export type QueryParameters = Readonly<Record<string, QueryValue>>;

export interface RequestOptions {
  query?: QueryParameters;
  body?: unknown;
  headers?: Record<string, string>;
  timeoutMs?: number;
}

export interface ApiAnswer<T> {
  status: number;
  body: T;
  headers: Headers;
}

/** A start with all its checks takes milliseconds; half a minute covers a database that is just coming back. */
const TIMEOUT_MS = 30_000;
/** Items per page when all of a list is wanted: the server's most. */
const PAGE_ITEMS = 500;

/** Requests with a token, JSON both ways, problems as {@link ApiProblem}. */
export class HttpApi {
  readonly url: string;

  constructor(private readonly options: ClientOptions) {
    this.url = options.url.replace(/\/+$/, '');
  }

  async request<T>(method: string, path: string, request: RequestOptions = {}): Promise<ApiAnswer<T>> {
    const { response, text } = await this.exchange(method, path, request);
    const body = parse(text);
    if (response.ok) return { status: response.status, body: body as T, headers: response.headers };
    if (isProblem(body)) throw new ApiProblem(response.status, body);
    // A proxy or another program on that port.
    throw new ApiUnreachable(this.url, `it answered ${response.status} without a problem document`);
  }

  async get<T>(path: string, query?: QueryParameters): Promise<T> {
    return (await this.request<T>('GET', path, query === undefined ? {} : { query })).body;
  }

  async post<T>(path: string, body?: unknown, query?: QueryParameters): Promise<T> {
    return (await this.request<T>('POST', path, { body: body ?? {}, ...(query === undefined ? {} : { query }) })).body;
  }

  /** All items of a list, page after page. */
  async *all<T>(path: string, query: QueryParameters = {}): AsyncGenerator<T, void, undefined> {
    let cursor: string | undefined;
    do {
      const page: Page<T> = await this.get(path, { limit: PAGE_ITEMS, ...query, cursor });
      yield* page.items;
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }

  /** Lines of an NDJSON answer as they come; ends with the answer, or when `signal` is aborted. */
  async *lines<T>(path: string, query: QueryParameters = {}, signal?: AbortSignal): AsyncGenerator<T, void, undefined> {
    const { token } = this.options;
    const response = await fetch(this.url + path + queryText(query), {
      headers: {
        accept: 'application/x-ndjson',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      ...(signal === undefined ? {} : { signal }),
    }).catch((cause: unknown) => {
      throw new ApiUnreachable(this.url, cause instanceof Error ? cause.message : String(cause));
    });
    if (!response.ok || response.body === null) {
      const body = parse(await response.text());
      if (isProblem(body)) throw new ApiProblem(response.status, body);
      throw new ApiUnreachable(this.url, `it answered ${response.status} without a problem document`);
    }
    let rest = '';
    const decoder = new TextDecoder();
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
      rest = parts.pop()!;
      for (const line of parts) if (line !== '') yield JSON.parse(line) as T;
    }
  }

  private async exchange(
    method: string,
    path: string,
    request: RequestOptions,
  ): Promise<{ response: Response; text: string }> {
    const { token, timeoutMs } = this.options;
    try {
      const response = await fetch(this.url + path + queryText(request.query), {
        method,
        headers: {
          accept: 'application/json',
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(request.body === undefined ? {} : { 'content-type': 'application/json' }),
          ...request.headers,
        },
        ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
        signal: AbortSignal.timeout(request.timeoutMs ?? timeoutMs ?? TIMEOUT_MS),
      });
      return { response, text: await response.text() };
    } catch (cause) {
      throw new ApiUnreachable(this.url, reasonOf(cause), { cause });
    }
  }
}

/** Path of a document or resource: every segment encoded, the slashes kept. */
export function segments(name: string): string {
  return name.split('/').map(encodeURIComponent).join('/');
}

function queryText(query: QueryParameters = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? (value as readonly string[]) : [value as string | number | boolean])
      parameters.append(name, String(one));
  }
  const text = parameters.toString();
  return text === '' ? '' : `?${text}`;
}

function parse(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function isProblem(body: unknown): body is Problem {
  return (
    typeof body === 'object' &&
    body !== null &&
    typeof (body as Problem).code === 'string' &&
    typeof (body as Problem).title === 'string'
  );
}

/** fetch hides the reason ("fetch failed") in causes, several deep and sometimes in a list. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0]);
  return error.cause === undefined ? error.message : reasonOf(error.cause);
}
