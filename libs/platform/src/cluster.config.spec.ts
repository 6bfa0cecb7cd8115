import { describe, expect, it } from 'vitest';
import { databaseUrlFromEnv, platformConfigFromEnv } from './cluster.config.js';

const TOKEN = 'a'.repeat(32);
const URLS = {
  OPSLOOP_INGEST_URL: 'http://event-ingest:7300',
  OPSLOOP_DECISION_URL: 'http://decision:7300',
  OPSLOOP_CONTROL_URL: 'http://control:7300',
  OPSLOOP_CATALOG_URL: 'http://service-catalog:7300/',
};
const GOOD = { ...URLS, OPSLOOP_SERVICE_TOKEN: TOKEN };

describe('configuration of an app in a cluster', () => {
  it('reads everything, and strips slashes from origins', () => {
    const config = platformConfigFromEnv(
      {
        ...GOOD,
        OPSLOOP_HOST: '0.0.0.0',
        OPSLOOP_PORT: '8080',
        OPSLOOP_PUBLIC_URL: 'https://ops.example',
        OPSLOOP_HTTP_ALLOW: '10.0.0.0/8, 192.168.1.1:443',
      },
      '1.2.3',
    );
    expect(config).toMatchObject({
      host: '0.0.0.0',
      port: 8080,
      publicUrl: 'https://ops.example',
      serviceToken: TOKEN,
      embedded: false,
      version: '1.2.3',
      urls: { ingest: 'http://event-ingest:7300', catalog: 'http://service-catalog:7300' },
      httpAllow: ['10.0.0.0/8', '192.168.1.1:443'],
    });
    expect(config.adminKey).toBeUndefined();
  });

  it.each([
    ['OPSLOOP_SERVICE_TOKEN', undefined],
    ['OPSLOOP_SERVICE_TOKEN', 'short'],
    ['OPSLOOP_ADMIN_KEY', 'admin'],
    ['OPSLOOP_PORT', '0'],
    ['OPSLOOP_PORT', 'http'],
    ['OPSLOOP_CONTROL_URL', undefined],
    ['OPSLOOP_CATALOG_URL', 'service-catalog'],
    ['OPSLOOP_PUBLIC_URL', 'http://x/path'],
    ['OPSLOOP_LOG_LEVEL', 'loud'],
  ])('refuses %s = %s and names it', (name, value) => {
    expect(() => platformConfigFromEnv({ ...GOOD, [name]: value }, '1.2.3')).toThrow(name);
  });
});

describe('the database of an app', () => {
  it.each(['postgres://o:s@db:5432/opsloop', 'postgresql://db/opsloop'])('is taken as it is: %s', (url) =>
    expect(databaseUrlFromEnv({ DATABASE_URL: url })).toBe(url),
  );

  it.each([undefined, '', 'db:5432', 'mysql://db/opsloop'])('is refused with the form to write: %j', (url) =>
    expect(() => databaseUrlFromEnv({ DATABASE_URL: url })).toThrow(/DATABASE_URL .*postgresql:\/\//),
  );
});
