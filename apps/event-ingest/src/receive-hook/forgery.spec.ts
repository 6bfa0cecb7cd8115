/**
 * What an attacker who has seen deliveries could send: altered, truncated, signed with other secrets, replayed later,
 * replayed under other headers. Accepted would mean: it passes the authentication, can be read, and is an event that is
 * not known yet.
 */
import { describe, expect, it } from 'vitest';
import { authenticate } from './authenticate.js';
import { FORMATS } from './formats/formats.js';
import { NOW, SAMPLES } from './formats/sample-deliveries.spec-kit.js';
import type { Sample } from './formats/sample-deliveries.spec-kit.js';
import { readDelivery } from './map-delivery.js';

const MUTATIONS = Number(process.env['OPSLOOP_FORGERY_MUTATIONS'] ?? 5_000);
const SEED = Number(process.env['OPSLOOP_FORGERY_SEED'] ?? 20_260_301);
/** A signature protects the body of these; the others show a credential, and only that can be forged. */
const SIGNED = ['grafana', 'pagerduty', 'github', 'standard-webhooks', 'cloudevents', 'generic'];

/** mulberry32: small, and the same on every machine. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface Sent {
  headers: Record<string, string>;
  body: Buffer;
  now: Date;
}
type Roll = (below: number) => number;
interface Mutation {
  what: string;
  apply: (sample: Sample, sent: Sent, roll: Roll) => Sent | undefined;
}

const SECONDS = (offset: number) => String(NOW.getTime() / 1_000 + offset);
const swapped = (text: string, at: number, roll: Roll): string => {
  const others = 'abcdef0123456789ABCDEFxyz+/='.replaceAll(text[at]!, '');
  return text.slice(0, at) + others[roll(others.length)]! + text.slice(at + 1);
};
const proofHeaders = (sample: Sample) => Object.keys(sample.sign(''));
const pick = <T>(list: readonly T[], roll: Roll): T => list[roll(list.length)]!;
const changeProof =
  (change: (value: string, roll: Roll) => string | undefined) =>
  (sample: Sample, sent: Sent, roll: Roll): Sent | undefined => {
    const name = pick(proofHeaders(sample), roll);
    const value = change(sent.headers[name]!, roll);
    // The case of hex digits and what stands around them says nothing.
    if (value !== undefined && value.toLowerCase() === sent.headers[name]!.toLowerCase()) return undefined;
    const { [name]: _old, ...headers } = sent.headers;
    return { ...sent, headers: value === undefined ? headers : { ...headers, [name]: value } };
  };
const body = (sent: Sent, bytes: Buffer): Sent | undefined =>
  bytes.equals(sent.body) ? undefined : { ...sent, body: bytes };

/** Of the body, under a signature that was made for another one. */
const OF_THE_BODY: Mutation[] = [
  {
    what: 'a flipped bit',
    apply: (_sample, sent, roll) => {
      const bytes = Buffer.from(sent.body);
      const at = roll(bytes.length);
      bytes[at] = bytes[at]! ^ (1 << roll(8));
      return body(sent, bytes);
    },
  },
  { what: 'cut off', apply: (_sample, sent, roll) => body(sent, sent.body.subarray(0, roll(sent.body.length))) },
  {
    what: 'something behind it',
    apply: (_sample, sent, roll) =>
      body(sent, Buffer.concat([sent.body, Buffer.from(pick([' ', '\n', '\0', '{}', ','], roll))])),
  },
  {
    what: 'something in it',
    apply: (_sample, sent, roll) => {
      const at = roll(sent.body.length);
      return body(sent, Buffer.concat([sent.body.subarray(0, at), Buffer.from([roll(256)]), sent.body.subarray(at)]));
    },
  },
  {
    what: 'written anew',
    apply: (_sample, sent, roll) =>
      body(sent, Buffer.from(JSON.stringify(JSON.parse(sent.body.toString()), undefined, 1 + roll(4)))),
  },
  {
    what: 'another value',
    apply: (_sample, sent, roll) => {
      const text = sent.body.toString();
      const strings = [...text.matchAll(/:"([^"]+)"/g)];
      const chosen = pick(strings, roll);
      return body(
        sent,
        Buffer.from(text.slice(0, chosen.index + 2) + swapped(chosen[1]!, 0, roll) + text.slice(chosen.index + 3)),
      );
    },
  },
];

/** Of the proof: what an attacker without the secret can try. */
const OF_THE_PROOF: Mutation[] = [
  { what: 'one character of the proof', apply: changeProof((value, roll) => swapped(value, roll(value.length), roll)) },
  { what: 'the proof cut off', apply: changeProof((value, roll) => value.slice(0, roll(value.length))) },
  { what: 'the proof from its middle', apply: changeProof((value, roll) => value.slice(1 + roll(value.length - 1))) },
  { what: 'no proof', apply: changeProof(() => undefined) },
  { what: 'an empty proof', apply: changeProof(() => '') },
  { what: 'the proof reversed', apply: changeProof((value) => [...value].reverse().join('')) },
  {
    what: 'another secret',
    apply: (sample, sent, roll) => {
      const secret = pick(['', 'it takes two to tangO', 'secret', 'the old one', '\0'], roll);
      return { ...sent, headers: { ...sent.headers, ...sample.sign(sent.body, undefined, secret) } };
    },
  },
  {
    what: 'the proof in another header',
    apply: (sample, sent, roll) => {
      const name = pick(proofHeaders(sample), roll);
      const { [name]: value, ...headers } = sent.headers;
      return {
        ...sent,
        headers: { ...headers, [pick(['x-signature', 'authorization', 'x-hub-signature', `${name}-2`], roll)]: value! },
      };
    },
  },
];

/** Of time and of what is not signed: the bytes are honest, and were seen before. */
const REPLAYS: Mutation[] = [
  { what: 'sent again', apply: (_sample, sent) => ({ ...sent }) },
  {
    what: 'sent again later',
    apply: (_sample, sent, roll) => ({ ...sent, now: new Date(NOW.getTime() + roll(29 * 86_400_000)) }),
  },
  {
    what: 'sent again under other headers',
    apply: (sample, sent, roll) => {
      const changed = Object.fromEntries(
        sample.unsigned.map((name) => [name, swapped(sent.headers[name]!, roll(4), roll)]),
      );
      const more = { [pick(['x-request-id', 'x-forwarded-for', 'webhook-id2'], roll)]: String(roll(1_000_000)) };
      return { ...sent, headers: { ...sent.headers, ...changed, ...more } };
    },
  },
  {
    what: 'signed at another time',
    apply: (sample, sent, roll) => {
      const offset = (roll(2) === 0 ? -1 : 1) * (301 + roll(100_000));
      const headers = sample.sign(sent.body, SECONDS(offset));
      return proofHeaders(sample).length === 1 && !JSON.stringify(headers).includes('t=')
        ? undefined
        : { ...sent, headers: { ...sent.headers, ...headers } };
    },
  },
  {
    what: 'another content type',
    apply: (_sample, sent, roll) => ({
      ...sent,
      headers: {
        ...sent.headers,
        'content-type': pick(['text/plain', 'application/json', 'application/x-www-form-urlencoded', ''], roll),
      },
    }),
  },
];

function honest(sample: Sample): Sent {
  const bytes = Buffer.from(sample.body);
  return { headers: { ...sample.headers, ...sample.sign(sample.body) }, body: bytes, now: NOW };
}

/** The ids it would be stored under; `undefined` when it is refused. */
function accepts(sample: Sample, sent: Sent): string[] | undefined {
  const format = FORMATS[sample.source.type as keyof typeof FORMATS];
  const message = { headers: sent.headers, rawBody: sent.body };
  const proof = authenticate(sample.source.auth!, message, { now: sent.now, hmac: format.hmac });
  if (proof === undefined) return undefined;
  try {
    const { items } = readDelivery(sample.source, format, message, proof, sent.now);
    return items.map(({ message: { source, id } }) => `${source} ${id}`);
  } catch {
    return undefined;
  }
}

describe(`forged webhooks, seed ${SEED}`, () => {
  const known = new Map(
    Object.entries(SAMPLES).map(([name, sample]) => [name, new Set(accepts(sample, honest(sample)))]),
  );

  it('the honest ones pass', () => {
    for (const [name, ids] of known) expect(ids.size, name).toBeGreaterThan(0);
  });

  it(`none of ${MUTATIONS} is accepted`, () => {
    const next = random(SEED);
    const roll: Roll = (below) => Math.floor(next() * below);
    const credentials = ['alertmanager', 'datadog'];
    const counts = new Map<string, number>();
    const accepted: string[] = [];
    for (let made = 0; made < MUTATIONS;) {
      const name = pick([...SIGNED, ...credentials], roll);
      const kinds = credentials.includes(name) ? OF_THE_PROOF : [...OF_THE_BODY, ...OF_THE_PROOF, ...REPLAYS];
      const sample = SAMPLES[name]!;
      const mutation = pick(kinds, roll);
      const sent = mutation.apply(sample, honest(sample), roll);
      if (sent === undefined) continue;
      made += 1;
      counts.set(`${name}: ${mutation.what}`, (counts.get(`${name}: ${mutation.what}`) ?? 0) + 1);
      const ids = accepts(sample, sent)?.filter((id) => !known.get(name)!.has(id)) ?? [];
      if (ids.length > 0)
        accepted.push(`${name}: ${mutation.what}: ${sent.body.toString()} ${JSON.stringify(sent.headers)}`);
    }
    expect(accepted).toEqual([]);
    // Every kind was tried on every format.
    expect(counts.size).toBeGreaterThan(SIGNED.length * (OF_THE_BODY.length + OF_THE_PROOF.length + 3));
  });

  it('a routing key is all of it or nothing', () => {
    const sample = SAMPLES['pagerduty-events']!;
    const next = random(SEED);
    for (let i = 0; i < 200; i++) {
      const key = `"${swapped('R0UT1NGK3Y0000000000000000000001', Math.floor(next() * 32), (below) => Math.floor(next() * below))}"`;
      const forged = Buffer.from(sample.body.replace(/"R0UT1NG[^"]*"/, key));
      expect(accepts(sample, { headers: sample.headers, body: forged, now: NOW })).toBeUndefined();
    }
  });
});
