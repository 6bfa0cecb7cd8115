/** One thing that is wrong, or doubtful, in a document: what editors, `validate` and `plan` show. */
export interface Finding {
  /** Stable code, `OPS1xxx`: it never changes its meaning, so that people can look it up and suppress it. */
  code: string;
  severity: 'error' | 'warning';
  /** RFC 6901 pointer into the document. */
  pointer: string;
  message: string;
  /** What to do about it. */
  hint?: string;
  /** Id of the step that it stands in. */
  step?: string;
  /** Page of the code. */
  url?: string;
}
