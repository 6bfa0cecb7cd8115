#!/usr/bin/env node
/**
 * How most teams do it: the alert calls a webhook, the webhook runs a script, at once. No lock, no memory of what was
 * done, no look afterwards. The same fleet and the same alerts as for opsloop, so that the two can be compared.
 *
 *   node naive.mjs --agent http://127.0.0.1:7390 --alerts alerts.json      (a list of { id, host }, as delivered)
 *   node naive.mjs --script http://127.0.0.1:7390 host/dc1/rack1/web-01    (the script: restarts, exits 0)
 *
 * Prints one JSON line: { alerts, incidents, scripts, exitZero, copiesActedOn, overlaps, exitZeroButSick, stillBroken }.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const SELF = fileURLToPath(import.meta.url);

const getJson = async (url) => (await fetch(url)).json();

/** What the on-call wiki says: restart it; the tool exits 0, so the page is closed. */
async function script(agent, host) {
  const res = await fetch(`${agent}/machines/${host}/restart`, { method: 'POST' });
  await res.arrayBuffer();
  return res.ok ? 0 : 1;
}

function runScript(agent, host) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [SELF, '--script', agent, host], { stdio: 'ignore' });
    child.once('error', () => resolve(1));
    child.once('exit', (code) => resolve(code ?? 1));
  });
}

/** Runs a script for every delivery and says what came of it. `alerts`: `{ id, host }` in the order of delivery. */
export async function runNaive({ agent, alerts }) {
  const before = await getJson(`${agent}/stats`);
  const codes = await Promise.all(alerts.map((alert) => runScript(agent, alert.host)));
  const after = await getJson(`${agent}/stats`);
  const { items } = await getJson(`${agent}/machines`);
  const touched = new Set(alerts.map((a) => a.host));
  const broken = items.filter((m) => touched.has(m.name) && m.state !== 'up').map((m) => m.name);
  const succeeded = new Set(alerts.filter((_, i) => codes[i] === 0).map((a) => a.host));
  const incidents = new Set(alerts.map((a) => a.id)).size;
  return {
    alerts: alerts.length,
    incidents,
    scripts: codes.length,
    exitZero: codes.filter((c) => c === 0).length,
    copiesActedOn: after.acts - before.acts - incidents,
    overlaps: after.overlaps - before.overlaps,
    exitZeroButSick: broken.filter((name) => succeeded.has(name)).length,
    stillBroken: broken,
  };
}

if (process.argv[1] === SELF) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { agent: { type: 'string' }, alerts: { type: 'string' }, script: { type: 'string' } },
  });
  if (values.script && positionals[0]) {
    process.exitCode = await script(values.script, positionals[0]);
  } else if (values.agent && values.alerts) {
    const alerts = JSON.parse(readFileSync(values.alerts, 'utf8'));
    process.stdout.write(`${JSON.stringify(await runNaive({ agent: values.agent, alerts }))}\n`);
  } else {
    console.error('usage: naive.mjs --agent URL --alerts FILE | --script URL HOST');
    process.exitCode = 2;
  }
}
