/** Ids of events and deliveries begin with the time of receipt (UUIDv7), so an age is a bound on ids. */
export function oldestId(ms: number): string {
  const hex = Math.max(0, Math.floor(ms)).toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`;
}
