/**
 * Shares a bounded number of looks per pass fairly: a pass that used its looks up tells where, and the next one begins
 * there. Otherwise the first resources, stale again by then, would take all looks of every pass, and the last none.
 */
export class LookTurns {
  private left = 0;
  private from: string | undefined;
  private next: string | undefined;

  constructor(private readonly max: number) {}

  begin(): void {
    this.left = this.max;
    this.from = this.next;
    this.next = undefined;
  }

  /** Looks that a page may take; `last` is its last path. */
  grant(last: string): number {
    return this.from !== undefined && last <= this.from ? 0 : this.left;
  }

  /** `after` is the last path before the page, nothing for the first one. */
  took(looks: number, after: string | undefined): void {
    this.left -= looks;
    // The page itself may have got only a part, so it comes again; what was looked at is fresh by then.
    if (looks > 0 && this.left <= 0) this.next = after;
  }
}
