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
  it('starts the five apps, PostgreSQL and Temporal; Kafka only when asked for', () => {
    const always = Object.entries(services)
      .filter(([, s]) => s.profiles === undefined)
      .map(([name]) => name);
    expect(always).toEqual(expect.arrayContaining([...APPS, 'postgres', 'temporal']));
    expect(services['kafka']?.profiles).toEqual(['kafka']);
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
