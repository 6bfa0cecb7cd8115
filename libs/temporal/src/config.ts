import { readFileSync } from 'node:fs';
import { OpsError } from '@opsloop/contracts';
import type { NativeConnectionOptions } from '@temporalio/worker';

/** Where Temporal is and how to enter it. */
export interface TemporalConfig {
  /** `host:port` of the frontend. */
  address: string;
  namespace: string;
  /** `true` = TLS with the system's roots; an object adds a client certificate or an own root. */
  tls?: boolean | { serverName?: string; rootCa?: Buffer; cert?: Buffer; key?: Buffer };
  /** Temporal Cloud API key; implies TLS. */
  apiKey?: string;
  /** Root of the Web UI, for links. */
  uiUrl?: string;
}

/**
 * Reads `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_TLS`, `TEMPORAL_TLS_CA`, `TEMPORAL_TLS_CERT`,
 * `TEMPORAL_TLS_KEY` (files), `TEMPORAL_TLS_SERVER_NAME`, `TEMPORAL_API_KEY` and `TEMPORAL_UI_URL`.
 */
export function temporalConfigFromEnv(env: NodeJS.ProcessEnv): TemporalConfig {
  const address = env.TEMPORAL_ADDRESS ?? '127.0.0.1:7233';
  if (!/^[^\s/]+:\d{1,5}$/.test(address)) {
    throw new OpsError(
      'configuration',
      `TEMPORAL_ADDRESS is "${address}"; write host:port, for example 127.0.0.1:7233`,
    );
  }
  const tls = tlsFromEnv(env);
  return {
    address,
    namespace: env.TEMPORAL_NAMESPACE ?? 'default',
    ...(tls === undefined ? {} : { tls }),
    ...(env.TEMPORAL_API_KEY === undefined ? {} : { apiKey: env.TEMPORAL_API_KEY }),
    ...(env.TEMPORAL_UI_URL === undefined ? {} : { uiUrl: env.TEMPORAL_UI_URL.replace(/\/+$/, '') }),
  };
}

function tlsFromEnv(env: NodeJS.ProcessEnv): TemporalConfig['tls'] | undefined {
  const { TEMPORAL_TLS_CA: ca, TEMPORAL_TLS_CERT: cert, TEMPORAL_TLS_KEY: key, TEMPORAL_TLS_SERVER_NAME: name } = env;
  if ((cert === undefined) !== (key === undefined)) {
    throw new OpsError('configuration', 'TEMPORAL_TLS_CERT and TEMPORAL_TLS_KEY must be set together');
  }
  if (ca === undefined && cert === undefined && name === undefined) {
    if (env.TEMPORAL_TLS === 'true' || env.TEMPORAL_API_KEY !== undefined) return true;
    return undefined;
  }
  return {
    ...(name === undefined ? {} : { serverName: name }),
    ...(ca === undefined ? {} : { rootCa: readFileSync(ca) }),
    ...(cert === undefined ? {} : { cert: readFileSync(cert) }),
    ...(key === undefined ? {} : { key: readFileSync(key) }),
  };
}

/** The options that both the native and the plain gRPC connection understand. */
export function connectOptions(config: TemporalConfig): {
  address: string;
  apiKey?: string;
  tls?:
    | boolean
    | { serverNameOverride?: string; serverRootCACertificate?: Buffer; clientCertPair?: { crt: Buffer; key: Buffer } };
} {
  const { tls } = config;
  const options = { address: config.address, ...(config.apiKey === undefined ? {} : { apiKey: config.apiKey }) };
  if (tls === undefined || tls === false) return options;
  if (tls === true) return { ...options, tls: true };
  return {
    ...options,
    tls: {
      ...(tls.serverName === undefined ? {} : { serverNameOverride: tls.serverName }),
      ...(tls.rootCa === undefined ? {} : { serverRootCACertificate: tls.rootCa }),
      ...(tls.cert === undefined || tls.key === undefined ? {} : { clientCertPair: { crt: tls.cert, key: tls.key } }),
    },
  };
}

/** Hosts of this machine, however they are written. */
const LOOPBACK = /^(127\.\d+\.\d+\.\d+|localhost|\[::1\]):\d+$/;

/**
 * The SDK compresses every request, and the server then every answer. Across a network that saves time; to a server on
 * this machine it only costs both of them CPU, for each start, poll and step.
 */
export function nativeOptions(config: TemporalConfig): NativeConnectionOptions {
  const options = connectOptions(config);
  return LOOPBACK.test(config.address) ? { ...options, grpcCompression: { codec: 'none' } } : options;
}
