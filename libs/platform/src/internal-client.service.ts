import { Agent as HttpAgent, type IncomingMessage, request as httpRequest, type RequestOptions } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { type InternalCalls, isErrorCode, OpsError, type Problem } from '@opsloop/contracts';
import { PLATFORM_CONFIG, type PlatformConfig } from './platform.config.js';

/** Every internal call is a lookup or a short transaction; above 5 s the caller's own redelivery is the better retry. */
const TIMEOUT_MS = 5_000;
/** Answers hold at most a compiled flow (≤ 128 KB inline) or 500 resources; above 8 MB something is broken. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;
/** Sockets per app: more than the starter's 16 parallel starts never wait at once. */
const SOCKETS_MAX = 32;

type Owner = keyof PlatformConfig['urls'];
const OWNER_OF: Readonly<Record<string, Owner>> = {
  catalog: 'catalog',
  decision: 'decision',
  events: 'ingest',
  runs: 'control',
  halts: 'control',
  control: 'control',
};

/** Calls between the apps, with the service token over kept-alive connections. All of them are idempotent. */
@Injectable()
export class InternalClient implements OnApplicationShutdown {
  private readonly http = new HttpAgent({ keepAlive: true, maxSockets: SOCKETS_MAX, scheduling: 'lifo' });
  private readonly https = new HttpsAgent({ keepAlive: true, maxSockets: SOCKETS_MAX, scheduling: 'lifo' });

  constructor(@Inject(PLATFORM_CONFIG) private readonly config: Pick<PlatformConfig, 'urls' | 'serviceToken'>) {}

  /** Calls the app that owns the route; its problem is rethrown with the same code, no answer is `unavailable`. */
  async call<K extends keyof InternalCalls>(
    key: K,
    body: InternalCalls[K]['body'],
    params: { id?: string } = {},
    opts: { timeoutMs?: number } = {},
  ): Promise<InternalCalls[K]['answer']> {
    const [method, route] = key.split(' ', 2) as [string, string];
    const owner = OWNER_OF[route.split('/')[2]!];
    if (owner === undefined) throw new OpsError('internal', `no app owns ${key}`);
    const url = new URL(route.replace(':id', encodeURIComponent(params.id ?? '')), this.config.urls[owner]);
    const text = JSON.stringify(body);
    const deadline = Date.now() + (opts.timeoutMs ?? TIMEOUT_MS);
    const answer = await this.send(method, url, text, deadline);
    return unpack(key, answer) as InternalCalls[K]['answer'];
  }

  /** The value of a secret now, from the secret store; `undefined` when it keeps none of this name. */
  async secret(name: string): Promise<string | undefined> {
    const { secrets } = await this.call('POST /internal/catalog/secrets/resolve', { names: [name] });
    return secrets.find((secret) => secret.name === name)?.value;
  }

  onApplicationShutdown(): void {
    this.http.destroy();
    this.https.destroy();
  }

  private async send(method: string, url: URL, text: string, deadline: number): Promise<Answer> {
    const secure = url.protocol === 'https:';
    const options: RequestOptions = {
      method,
      agent: secure ? this.https : this.http,
      headers: {
        authorization: `Bearer ${this.config.serviceToken}`,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
        accept: 'application/json',
      },
    };
    const attempt = (): Promise<Answer> => exchange(secure, url, options, text, Math.max(1, deadline - Date.now()));
    try {
      return await attempt();
    } catch (error) {
      // The peer may close a kept-alive socket just as we use it; once more on a fresh one, since calls are idempotent.
      if (error instanceof StaleSocket) return await attempt().catch((again: unknown) => unavailable(url, again));
      return unavailable(url, error);
    }
  }
}

interface Answer {
  status: number;
  text: string;
}

class StaleSocket extends Error {}

function unavailable(url: URL, error: unknown): never {
  if (error instanceof OpsError) throw error;
  const reason = error instanceof Error ? error.message : String(error);
  throw new OpsError('unavailable', `${url.origin}${url.pathname} did not answer: ${reason}`, { cause: error });
}

function exchange(
  secure: boolean,
  url: URL,
  options: RequestOptions,
  text: string,
  timeoutMs: number,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = (secure ? httpsRequest : httpRequest)(url, options);
    const timer = setTimeout(() => req.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      act();
    };
    req.on('response', (res) => {
      readAnswer(res).then(
        (answer) => settle(() => resolve(answer)),
        (error: unknown) => settle(() => reject(error)),
      );
    });
    req.on('error', (error: NodeJS.ErrnoException) => {
      const stale = req.reusedSocket && (error.code === 'ECONNRESET' || error.code === 'EPIPE');
      settle(() => reject(stale ? new StaleSocket(error.message) : error));
    });
    req.end(text);
  });
}

async function readAnswer(res: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of res as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES_MAX) throw new OpsError('payload-too-large', 'an internal answer is above 8 MB');
    chunks.push(chunk);
  }
  return { status: res.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') };
}

function unpack(key: string, answer: Answer): unknown {
  let value: unknown;
  try {
    value = answer.text === '' ? undefined : JSON.parse(answer.text);
  } catch {
    throw new OpsError('unavailable', `${key} answered ${answer.status} without JSON`);
  }
  if (answer.status >= 200 && answer.status < 300) return value;
  const problem = (value ?? {}) as Partial<Problem>;
  const code = problem.code !== undefined && isErrorCode(problem.code) ? problem.code : 'unavailable';
  throw new OpsError(code, problem.detail ?? `${key} answered ${answer.status}`, {
    ...(problem.errors === undefined ? {} : { errors: problem.errors }),
  });
}
