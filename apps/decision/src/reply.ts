/** The part of the HTTP reply that controllers set themselves: 201 for what is new, 200 for what was there. */
export interface Reply {
  status(code: number): unknown;
}
