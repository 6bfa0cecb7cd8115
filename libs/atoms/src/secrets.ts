import { OpsError, type Json, type JsonObject } from '@opsloop/contracts';

/** Where secrets come from. Values leave it only towards the call that uses them. */
export interface SecretSource {
  /** `undefined` when there is no such secret. */
  get(name: string): Promise<string | undefined>;
}

/** Secrets from the worker's environment: `cmdb-token` is `OPSLOOP_SECRET_CMDB_TOKEN`. */
export class EnvironmentSecrets implements SecretSource {
  constructor(private readonly env: Readonly<Record<string, string | undefined>>) {}

  get(name: string): Promise<string | undefined> {
    return Promise.resolve(this.env[`OPSLOOP_SECRET_${name.toUpperCase().replaceAll('-', '_')}`]);
  }
}

/** Shorter texts occur everywhere; replacing them would destroy the output without hiding anything. */
const REDACTED_CHARS_MIN = 4;

/** The secrets that one call uses: resolves references and takes their values out of all that comes back. */
export class CallSecrets {
  private readonly values = new Set<string>();

  constructor(private readonly source: SecretSource) {}

  async resolve(name: string): Promise<string> {
    const value = await this.source.get(name);
    if (value === undefined) {
      throw new OpsError(
        'configuration',
        `there is no secret "${name}"; set OPSLOOP_SECRET_${name.toUpperCase().replaceAll('-', '_')} in the environment of the worker`,
      );
    }
    for (const form of formsOf(value)) if (form.length >= REDACTED_CHARS_MIN) this.values.add(form);
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
    let clean = text;
    // Longest first: one secret may contain another.
    for (const value of [...this.values].sort((a, b) => b.length - a.length)) clean = clean.replaceAll(value, '***');
    return clean;
  }

  redact<T extends Json>(value: T): T {
    if (this.values.size === 0) return value;
    return this.redactJson(value) as T;
  }

  private redactJson(value: Json): Json {
    if (typeof value === 'string') return this.redactText(value);
    if (value === null || typeof value !== 'object') return value;
    if (Array.isArray(value)) return value.map((item) => this.redactJson(item));
    return Object.fromEntries(
      Object.entries(value).map(([key, member]) => [this.redactText(key), this.redactJson(member)]),
    );
  }

  get used(): boolean {
    return this.values.size > 0;
  }
}

/** The forms in which targets echo a secret. */
function formsOf(value: string): string[] {
  const base64 = Buffer.from(value).toString('base64');
  return [
    value,
    encodeURIComponent(value),
    base64,
    base64.replace(/=+$/, ''),
    Buffer.from(value).toString('base64url'),
    JSON.stringify(value).slice(1, -1),
  ];
}
