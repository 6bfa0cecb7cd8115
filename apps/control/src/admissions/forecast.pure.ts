import type { AdmissionView } from '@opsloop/contracts';

/** A verdict that nobody has acted on, in the words of somebody who looks before the start. */
export function forecastText(v: AdmissionView): string {
  const why = v.reason === undefined ? '' : `: ${v.reason}`;
  switch (v.verdict) {
    case 'admitted':
      return 'would start';
    case 'queued': {
      const first = v.blockedBy?.[0];
      const who =
        first === undefined ? '' : ` behind ${first.runId === undefined ? first.owner : `run ${first.runId}`}`;
      return `queued${who}, place ${v.position ?? 1}${v.eta === undefined ? '' : `, about ${v.eta}`}${why}`;
    }
    case 'held':
      return `held${v.heldUntil === undefined ? '' : ` until ${v.heldUntil}`}${why}`;
    case 'needs-approval': {
      const asks = (v.consulted ?? [])
        .filter((c) => c.said === 'ask')
        .map((c) => `${c.saw.replace(/ must approve$/, '')} (${c.policy})`);
      return `needs approval by ${asks.join(' and by ')}`;
    }
    case 'coalesced':
      return `would join what runs already${why}`;
    default:
      return `would be ${v.verdict}${why}`;
  }
}
