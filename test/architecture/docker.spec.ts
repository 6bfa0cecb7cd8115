/** What can be said about the container files without a container engine. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { read, ROOT } from './source-files.js';

interface Service {
  build?: { context: string; dockerfile: string; args: { APP: string } };
  environment?: Record<string, string>;
  depends_on?: Record<string, unknown> | string[];
  profiles?: string[];
}
const text = read('docker/compose.yaml');
const { services } = parse(text, { merge: true }) as { services: Record<string, Service> };
const APPS = ['event-ingest', 'decision', 'control', 'service-catalog', 'dsl-interpreter'];

describe('docker/compose.yaml', () => {
  it('starts the five apps, PostgreSQL, Temporal, Kafka and one gateway', () => {
    const always = Object.entries(services)
      .filter(([, s]) => s.profiles === undefined)
      .map(([name]) => name);
    expect(always).toEqual(expect.arrayContaining([...APPS, 'postgres', 'temporal', 'kafka', 'gateway']));
  });

  it('puts the apps on Kafka unless told otherwise, and gives each of them what it needs to start', () => {
    for (const name of APPS) {
      const environment = services[name]!.environment!;
      expect(environment['KAFKA_BROKERS']).toBe('${KAFKA_BROKERS-kafka:9092}');
      for (const variable of ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'OPSLOOP_SERVICE_TOKEN', 'OPSLOOP_CONTROL_URL'])
        expect(environment, name).toHaveProperty(variable);
    }
    expect(services['service-catalog']!.environment).toHaveProperty('OPSLOOP_SECRETS_KEY');
  });

  it('lets several processes of an app run: none has a port or a volume of its own', () => {
    for (const name of APPS) {
      expect(services[name]).not.toHaveProperty('ports');
      expect(services[name]).not.toHaveProperty('volumes');
      expect(services[name]).toHaveProperty('stop_grace_period');
    }
  });

  it('has a gateway that knows every app by the name of its service, and lets nobody at internal routes', () => {
    const gateway = read('docker/gateway.conf');
    const upstreams = [...gateway.matchAll(/set \$(\w+) http:\/\/([\w-]+):7300;/g)];
    expect(upstreams.map(([, , host]) => host).toSorted()).toEqual(
      APPS.filter((a) => a !== 'dsl-interpreter').toSorted(),
    );
    for (const [, variable, host] of upstreams) expect(variable).toBe(host!.replaceAll('-', '_'));
    for (const [, used] of gateway.matchAll(/proxy_pass \$(\w+);/g))
      expect(upstreams.map(([, name]) => name)).toContain(used);
    expect(gateway).toMatch(/location \/internal\/ \{ return 404; \}/);
  });

  it.each(APPS)('%s is built from its own folder', (name) => {
    const { build } = services[name]!;
    expect(build?.args.APP).toBe(name);
    expect(existsSync(join(ROOT, 'apps', name, 'package.json'))).toBe(true);
    expect(existsSync(join(ROOT, 'docker', build!.context, build!.dockerfile))).toBe(true);
  });

  it('depends only on services that exist', () => {
    for (const service of Object.values(services)) {
      const needed = Array.isArray(service.depends_on) ? service.depends_on : Object.keys(service.depends_on ?? {});
      for (const name of needed) expect(Object.keys(services)).toContain(name);
    }
  });

  it('has no secret with a default: each comes from a variable that must be set', () => {
    const secrets = Object.entries(services).flatMap(([name, s]) =>
      Object.entries(s.environment ?? {})
        .filter(([key]) => /PASSWORD|PWD|KEY$|TOKEN|DATABASE_URL/.test(key))
        .map(([key, value]) => ({ name, key, value: String(value) })),
    );
    expect(secrets.length).toBeGreaterThan(0);
    for (const { name, key, value } of secrets) expect(`${name} ${key} ${value}`).toMatch(/\$\{[A-Z_]+:\?/);
  });

  it('publishes ports on loopback only', () => {
    expect(
      [...text.matchAll(/ports: \['([^']+)'\]/g)].map((m) => m[1]).filter((p) => !p!.startsWith('127.0.0.1:')),
    ).toEqual([]);
  });
});
