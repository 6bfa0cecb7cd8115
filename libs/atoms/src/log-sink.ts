import { OpsError } from '@opsloop/contracts';
import { request } from 'undici';
import type { PlatformAccess } from './secrets.js';
import type { LogSink } from './step-log.js';

/** Storing lines is one small transaction; longer means that the platform is in trouble. */
const CALL_MS = 5_000;

/** Hands lines to the public API, for workers outside of the platform. */
export function logSink({ url, token }: PlatformAccess): LogSink {
  return async (run, batch) => {
    const { statusCode, body } = await request(new URL(`/v1/runs/${run}/logs`, url), {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(batch),
      signal: AbortSignal.timeout(CALL_MS),
    });
    await body.dump();
    // What is refused now is refused again: only a server in trouble is asked a second time.
    if (statusCode >= 500 || statusCode === 429) throw new OpsError('unavailable', `the log answered ${statusCode}`);
  };
}
