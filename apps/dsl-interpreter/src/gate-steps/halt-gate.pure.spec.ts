import type { GateContext, HaltScope, HaltView } from '@opsloop/contracts';
import { describe, expect, it } from 'vitest';
import { haltFor, inScope, judge, SNAPSHOT_AGE_MAX_MS } from './halt-gate.pure.js';

const gate: GateContext = {
  flow: 'fleet/replace-hosts',
  rule: 'fleet/host-down',
  tier: 'P1',
  atom: 'k8s.node.drain',
  effect: 'mutate',
  targets: ['host/dc1/rack7/web-042', 'service/pay'],
  phase: 'forward',
};
const { rule: _rule, ...byHand } = gate;

describe('inScope', () => {
  it.each<[HaltScope, boolean]>([
    [{}, true],
    [{ rules: ['fleet/host-down'] }, true],
    [{ rules: ['fleet/*'] }, true],
    [{ rules: ['db/*'] }, false],
    [{ flows: ['fleet/replace-*'] }, true],
    [{ flows: ['fleet/replace'] }, false],
    [{ atoms: ['k8s.*'] }, true],
    [{ atoms: ['bmc.*', 'k8s.node.drain'] }, true],
    [{ atoms: ['bmc.*'] }, false],
    [{ paths: ['host/dc1'] }, true],
    [{ paths: ['host/dc1/rack7/web-042'] }, true],
    [{ paths: ['host/dc1/rack7/web-042/disk/1'] }, true],
    [{ paths: ['host/dc1/rack7/web-04'] }, false],
    [{ paths: ['host/*/rack7/*'] }, true],
    [{ paths: ['host/dc2/*'] }, false],
    [{ paths: ['switch/*', 'service/pay'] }, true],
    [{ tiers: ['P0', 'P1'] }, true],
    [{ tiers: ['P0'] }, false],
    [{ domain: 'fleet' }, true],
    [{ domain: 'fl*' }, true],
    [{ domain: 'db' }, false],
    [{ tiers: ['P1'], paths: ['host/dc1'] }, true],
    [{ tiers: ['P1'], paths: ['host/dc2'] }, false],
    [{ rules: [] }, false],
  ])('%j → %s', (scope, expected) => {
    expect(inScope(scope, gate)).toBe(expected);
  });

  it('a halt of rules says nothing about a run that no rule started', () => {
    expect(inScope({ rules: ['*'] }, byHand)).toBe(false);
  });
});

const halt = (running: HaltView['running'], scope: HaltScope = {}): HaltView => ({
  id: `h-${running}`,
  scope,
  running,
  reason: 'storm',
  by: 'ann',
  since: '2026-11-21T00:00:00Z',
});

describe('haltFor', () => {
  it.each<[HaltView['running'], GateContext['phase'], boolean]>([
    ['pause', 'forward', true],
    ['pause', 'compensation', true],
    ['pause', 'finally', true],
    ['cancel', 'forward', true],
    ['cancel', 'compensation', false],
    ['cancel', 'finally', false],
    ['leave', 'forward', false],
    ['leave', 'compensation', false],
    ['leave', 'finally', false],
  ])('%s, %s: stopped is %s', (running, phase, stopped) => {
    expect(haltFor({ ...gate, phase }, [halt(running)]) !== undefined).toBe(stopped);
    expect(haltFor({ ...gate, phase, effect: 'destroy' }, [halt(running)]) !== undefined).toBe(stopped);
    expect(haltFor({ ...gate, phase, effect: 'read' }, [halt(running)])).toBeUndefined();
  });

  it('one of several is enough', () => {
    expect(haltFor(gate, [halt('pause', { domain: 'db' }), halt('leave'), halt('cancel', { tiers: ['P1'] })])?.id).toBe(
      'h-cancel',
    );
    expect(haltFor(gate, [halt('pause', { domain: 'db' }), halt('leave')])).toBeUndefined();
    expect(haltFor(gate, [])).toBeUndefined();
  });
});

describe('judge', () => {
  const snapshot = (halts: HaltView[]) => ({ asOf: '2026-11-21T00:00:00Z', halts });
  it('goes on a fresh picture without a halt', () => {
    expect(judge(gate, { snapshot: snapshot([]), ageMs: SNAPSHOT_AGE_MAX_MS })).toEqual({ go: true });
  });
  it('lets a run pass that a person allowed, and no other', () => {
    const picture = { snapshot: snapshot([{ ...halt('pause'), allowed: ['r1'] }]), ageMs: 0 };
    expect(['r1', 'r2'].map((run) => judge(gate, picture, undefined, run).go)).toEqual([true, false]);
    expect(judge(gate, { ...picture, ageMs: SNAPSHOT_AGE_MAX_MS + 1 }, undefined, 'r1').go).toBe(false);
  });
  it('says which halt, by whom and why', () => {
    const verdict = judge(gate, { snapshot: snapshot([halt('pause')]), ageMs: 0 });
    expect(verdict).toMatchObject({
      go: false,
      error: { code: 'halted', detail: expect.stringMatching(/h-pause by ann.*storm/) as string },
    });
  });
  it.each([
    ['no picture', undefined],
    ['an old one', { snapshot: snapshot([]), ageMs: SNAPSHOT_AGE_MAX_MS + 1 }],
  ])('%s: nothing that changes anything starts', (_name, picture) => {
    expect(judge(gate, picture, 'connect ECONNREFUSED')).toMatchObject({
      go: false,
      error: {
        code: 'halted',
        detail: expect.stringMatching(/control is unreachable.*ECONNREFUSED/) as string,
        options: { extensions: { controlUnreachable: true } },
      },
    });
    expect(judge({ ...gate, effect: 'read' }, picture)).toEqual({ go: true });
  });
});
