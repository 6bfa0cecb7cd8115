// The demo talks to opsloop like anybody else: over its public HTTP API, with the admin key of the data directory.

/** Every call answers within the deadline of the longest `wait`, plus a margin. */
const DEADLINE_MS = 65_000;

export class Api {
  constructor(url, key) {
    this.url = url;
    this.key = key;
  }

  async send(method, path, body, headers = {}) {
    const answer = await fetch(new URL(path, this.url), {
      method,
      headers: {
        authorization: `Bearer ${this.key}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    const text = await answer.text();
    const json = text === '' ? undefined : JSON.parse(text);
    if (!answer.ok) throw new Error(`${method} ${path} → ${answer.status} ${json?.detail ?? text}`);
    return json;
  }

  get = (path) => this.send('GET', path);
  put = (path, body) => this.send('PUT', path, body);
  post = (path, body, headers) => this.send('POST', path, body, headers);

  /** All items of a list route, page by page. */
  async list(path) {
    const items = [];
    let cursor;
    do {
      const page = await this.get(
        `${path}${path.includes('?') ? '&' : '?'}limit=200${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`,
      );
      items.push(...page.items);
      cursor = page.nextCursor;
    } while (cursor !== undefined && cursor !== null);
    return items;
  }
}

/** Waits until `check` returns something truthy; the error says what was waited for. */
export async function until(what, check, timeoutMs = 30_000, everyMs = 150) {
  const deadline = Date.now() + timeoutMs;
  let last;
  for (;;) {
    try {
      const value = await check();
      if (value) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline)
      throw new Error(`waited ${timeoutMs / 1000} s for ${what}${last ? `: ${last.message}` : ''}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
