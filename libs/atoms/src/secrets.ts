import { AtomError, OpsError, type Json, type JsonObject } from '@opsloop/contracts';
import { NotYet } from './job.js';

/** Where secrets come from. Values leave it only towards the call that uses them. */
export interface SecretSource {
  /** `undefined` when there is no such secret. */
  get(name: string): Promise<string | undefined>;
}

const variableOf = (name: string): string => `OPSLOOP_SECRET_${name.toUpperCase().replaceAll('-', '_')}`;

/** Secrets from the worker's environment: `cmdb-token` is `OPSLOOP_SECRET_CMDB_TOKEN`. */
export class EnvironmentSecrets implements SecretSource {
  constructor(private readonly env: Readonly<Record<string, string | undefined>>) {}

  get(name: string): Promise<string | undefined> {
    return Promise.resolve(this.env[variableOf(name)]);
  }
}

/** Asks one source after the other; the first that knows the name answers. One that fails ends the search. */
export class FirstOf implements SecretSource {
  constructor(private readonly sources: readonly SecretSource[]) {}

  async get(name: string): Promise<string | undefined> {
    for (const source of this.sources) {
      const value = await source.get(name);
      if (value !== undefined) return value;
    }
    return undefined;
  }
}

/** A new value is used, and a destroyed one forgotten, within this time. */
const REMEMBER_MS = 30_000;
/** Secrets remembered at a time; a worker uses a few dozen. */
const REMEMBERED_MAX = 500;

interface Remembered {
  /** Bytes, not text: these can be overwritten when their time is up. */
  bytes: Buffer;
  until: number;
  timer: NodeJS.Timeout;
}

/**
 * The platform's secret store, through whatever way of asking this process has. Answers are remembered for at most
 * 30 s, so that a loop does not ask for each of its steps; what is remembered is overwritten then.
 */
export class StoredSecrets implements SecretSource {
  private readonly remembered = new Map<string, Remembered>();
  private readonly asking = new Map<string, Promise<string | undefined>>();

  /** @param ask The value of a secret now; `undefined` when there is none. */
  constructor(
    private readonly ask: (name: string) => Promise<string | undefined>,
    private readonly rememberMs = REMEMBER_MS,
  ) {}

  get(name: string): Promise<string | undefined> {
    const known = this.remembered.get(name);
    if (known !== undefined && performance.now() < known.until) return Promise.resolve(known.bytes.toString('utf8'));
    const pending = this.asking.get(name) ?? this.fetch(name);
    this.asking.set(name, pending);
    return pending;
  }

  /** Overwrites everything remembered. */
  forget(): void {
    for (const name of [...this.remembered.keys()]) this.drop(name);
  }

  private async fetch(name: string): Promise<string | undefined> {
    try {
      const value = await this.ask(name);
      // A name without a value is asked again: whoever puts the missing secret does not want to wait.
      if (value !== undefined) this.remember(name, value);
      return value;
    } finally {
      this.asking.delete(name);
    }
  }

  private remember(name: string, value: string): void {
    this.drop(name);
    const oldest = this.remembered.keys().next();
    if (this.remembered.size >= REMEMBERED_MAX && oldest.done !== true) this.drop(oldest.value);
    const timer = setTimeout(() => this.drop(name), this.rememberMs);
    timer.unref();
    this.remembered.set(name, { bytes: Buffer.from(value, 'utf8'), until: performance.now() + this.rememberMs, timer });
  }

  private drop(name: string): void {
    const known = this.remembered.get(name);
    if (known === undefined) return;
    clearTimeout(known.timer);
    known.bytes.fill(0);
    this.remembered.delete(name);
  }
}

/** A lookup and an unsealing take milliseconds; above this the platform is in trouble and the step is retried. */
const PLATFORM_TIMEOUT_MS = 5_000;

/** How a worker of a team reaches the platform. */
export interface PlatformAccess {
  /** Origin, such as https://opsloop.example. */
  url: string;
  /** API token of the role worker that names the secrets it may resolve. */
  token: string;
}

/** The secret store over the public API, with the token of a worker. */
export function platformSecrets({ url, token }: PlatformAccess): StoredSecrets {
  return new StoredSecrets(async (name) => {
    const response = await fetch(new URL('/v1/secrets/resolve', url), {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ names: [name] }),
      signal: AbortSignal.timeout(PLATFORM_TIMEOUT_MS),
      redirect: 'error',
    }).catch((error: unknown) => {
      throw new OpsError('unavailable', `the secret store did not answer: ${reasonOf(error)}`);
    });
    const answer = (await response.json().catch(() => ({}))) as {
      secrets?: { name: string; value: string }[];
      detail?: string;
    };
    if (response.ok) return answer.secrets?.find((secret) => secret.name === name)?.value;
    const detail = answer.detail ?? `it answered ${response.status}`;
    if (response.status === 401 || response.status === 403)
      throw new OpsError('configuration', `the secret store refuses "${name}" to this worker: ${detail}`);
    if (response.status >= 500) throw new OpsError('unavailable', `the secret store is not available: ${detail}`);
    throw new OpsError('configuration', `the secret "${name}" cannot be resolved: ${detail}`);
  });
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}

/** Shorter texts occur everywhere; replacing them would destroy the output without hiding anything. */
const REDACTED_CHARS_MIN = 4;
/** Part of a secret at a place where a text was cut: fewer characters tell nothing and occur by chance. */
const PARTIAL_CHARS_MIN = 8;
const MASK = '***';

/** The secrets that one call uses: resolves references and takes their values out of all that comes back. */
export class CallSecrets {
  private readonly values = new Set<string>();
  private ordered: string[] | undefined;
  /** Texts in which a value was found. */
  private hits = 0;

  constructor(private readonly source: SecretSource) {}

  async resolve(name: string): Promise<string> {
    const value = await this.source.get(name);
    if (value === undefined) {
      throw new OpsError(
        'configuration',
        `there is no secret "${name}"; keep it with: opsloop secrets put ${name} (or set ${variableOf(name)} in the environment of the worker)`,
        { extensions: { secret: name } },
      );
    }
    for (const form of formsOf(value)) if (form.length >= REDACTED_CHARS_MIN) this.values.add(form);
    this.ordered = undefined;
    return value;
  }

  /**
   * A copy of the input in which the references at `places` (JSON pointers) are the secrets' values. Nowhere else: what
   * looks like a reference there was brought along by an event or a caller, who must not choose what is sent.
   */
  async fill(input: Json, places: readonly string[] = []): Promise<Json> {
    let filled = input;
    for (const place of places) filled = await this.fillAt(filled, place.split('/').slice(1));
    return filled;
  }

  private async fillAt(value: Json, path: readonly string[]): Promise<Json> {
    if (value === null || typeof value !== 'object') return value;
    const [first, ...rest] = path;
    if (first === undefined) {
      const name = Array.isArray(value) ? undefined : value.$secret;
      return typeof name === 'string' ? this.resolve(name) : value;
    }
    const key = first.replaceAll('~1', '/').replaceAll('~0', '~');
    if (!Object.hasOwn(value, key)) return value;
    const inner = await this.fillAt((value as JsonObject)[key]!, rest);
    if (Array.isArray(value)) return value.map((item, at) => (String(at) === key ? inner : item));
    // fromEntries defines members, so that a key like __proto__ stays a key.
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, name === key ? inner : member]));
  }

  redactText(text: string): string {
    if (this.values.size === 0) return text;
    let clean = text;
    // Longest first: one secret may contain another.
    this.ordered ??= [...this.values].sort((a, b) => b.length - a.length);
    for (const value of this.ordered) clean = clean.replaceAll(value, MASK);
    clean = this.redactEdges(clean);
    if (clean !== text) this.hits += 1;
    return clean;
  }

  /** Long texts were cut somewhere; a value may have been cut with them, at the end, at the start, or beside a "…". */
  private redactEdges(text: string): string {
    return text
      .split('…')
      .map((part) => {
        let clean = part;
        for (const value of this.ordered!) {
          const tail = overlap(clean, value);
          if (tail > 0) clean = clean.slice(0, clean.length - tail) + MASK;
          const head = overlap(value, clean);
          if (head > 0) clean = MASK + clean.slice(head);
        }
        return clean;
      })
      .join('…');
  }

  redact<T extends Json>(value: T): T {
    if (this.values.size === 0) return value;
    return this.redactJson(value) as T;
  }

  private redactJson(value: Json): Json {
    if (typeof value === 'string') return this.redactText(value);
    // A secret of digits that a target answers as a number.
    if (typeof value === 'number') return this.values.has(String(value)) ? ((this.hits += 1), MASK) : value;
    if (value === null || typeof value !== 'object') return value;
    if (Array.isArray(value)) return value.map((item) => this.redactJson(item));
    return Object.fromEntries(
      Object.entries(value).map(([key, member]) => [this.redactText(key), this.redactJson(member)]),
    );
  }

  get used(): boolean {
    return this.values.size > 0;
  }

  /** How many texts held a value so far. */
  get found(): number {
    return this.hits;
  }
}

/** The error without the values that this call used; its cause is left out, whose message may hold what was sent. */
export function redactError(error: unknown, secrets: CallSecrets): unknown {
  if (error instanceof OpsError) {
    const { cause: _cause, extensions, ...options } = error.options;
    const clean = extensions === undefined ? {} : { extensions: secrets.redact(extensions as JsonObject) };
    return new OpsError(error.code, secrets.redactText(error.detail), { ...options, ...clean });
  }
  if (error instanceof AtomError) {
    const { cause: _cause, extensions, ...options } = error.options;
    const clean = extensions === undefined ? {} : { extensions: secrets.redact(extensions as JsonObject) };
    return new AtomError(error.code, secrets.redactText(error.detail), { ...options, ...clean });
  }
  if (error instanceof NotYet) return new NotYet(secrets.redact({ ...error.progress }));
  if (error instanceof Error && error.name !== 'CancelledFailure')
    return new OpsError('runtime', secrets.redactText(error.message));
  return error;
}

/** Length of the longest end of `left` that `right` begins with, if it is long enough to tell something. */
function overlap(left: string, right: string): number {
  for (let length = Math.min(left.length, right.length - 1); length >= PARTIAL_CHARS_MIN; length -= 1)
    if (left.endsWith(right.slice(0, length))) return length;
  return 0;
}

/** A secret of many lines is printed line by line; a line as long as this is recognisable. */
const LINE_CHARS_MIN = 16;

/** The forms in which targets echo a secret. */
function formsOf(value: string): Set<string> {
  const bytes = Buffer.from(value);
  const base64 = bytes.toString('base64');
  const hex = bytes.toString('hex');
  const lines = value.split(/\r?\n/).map((line) => line.trim());
  return new Set([
    value,
    value.trim(),
    ...(lines.length === 1 ? [] : lines.filter((line) => line.length >= LINE_CHARS_MIN)),
    encodeURIComponent(value),
    encodeURIComponent(value).replaceAll('%20', '+'),
    base64,
    base64.replace(/=+$/, ''),
    bytes.toString('base64url'),
    ...insideBase64(bytes),
    hex,
    hex.toUpperCase(),
    JSON.stringify(value).slice(1, -1),
  ]);
}

/**
 * What a secret looks like inside the base64 of something longer, such as `user:secret` of Basic authentication: three
 * alignments, without the characters at both ends that its neighbours share.
 */
function insideBase64(bytes: Buffer): string[] {
  return [0, 1, 2].flatMap((shift) => {
    const text = Buffer.concat([Buffer.alloc(shift), bytes])
      .toString('base64')
      .replace(/=+$/, '');
    const from = Math.ceil((shift * 8) / 6);
    const to = Math.floor(((shift + bytes.length) * 8) / 6);
    const inner = text.slice(from, to);
    return inner.length >= PARTIAL_CHARS_MIN ? [inner, inner.replaceAll('+', '-').replaceAll('/', '_')] : [];
  });
}
