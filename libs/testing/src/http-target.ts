import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface RecordedCall {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  /** Parsed when it is JSON, else the text. */
  body: unknown;
  at: number;
}

export interface TargetAnswer {
  status?: number;
  headers?: Record<string, string>;
  body?: unknown;
}

export interface HttpTarget {
  url: string;
  calls: RecordedCall[];
  close(): Promise<void>;
}

/** A real HTTP server that records what it is asked. Without a handler it answers 200 `{}`. */
export async function startHttpTarget(
  handler: (call: RecordedCall) => TargetAnswer | Promise<TargetAnswer> = () => ({}),
): Promise<HttpTarget> {
  const calls: RecordedCall[] = [];
  const server = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      const call: RecordedCall = {
        method: req.method ?? '',
        path: req.url ?? '',
        headers: req.headers,
        body: parse(Buffer.concat(chunks).toString('utf8')),
        at: Date.now(),
      };
      calls.push(call);
      Promise.resolve()
        .then(() => handler(call))
        .then(
          ({ status = 200, headers = {}, body = {} }) => {
            const text = typeof body === 'string' ? body : JSON.stringify(body);
            res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text);
          },
          (error: unknown) => res.writeHead(500).end(String(error)),
        );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
