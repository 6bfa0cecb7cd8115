import type { StartRequest } from '@opsloop/contracts';

/**
 * The same start without the targets whose cause has cleared meanwhile; the order and the shape of the batches stay.
 * Undefined when nothing changes: a single run has one cause and goes on as a whole.
 */
export function narrow(request: StartRequest, cleared: ReadonlySet<string>): StartRequest | undefined {
  const { perTarget } = request;
  if (perTarget === undefined || !perTarget.items.some((i) => cleared.has(i.path))) return undefined;
  const keep = (path: string): boolean => !cleared.has(path);
  return {
    ...request,
    targets: request.targets.filter(keep),
    perTarget: {
      ...perTarget,
      items: perTarget.items.filter((i) => keep(i.path)),
      batches: perTarget.batches.map((b) => b.filter(keep)).filter((b) => b.length > 0),
    },
  };
}
