import type { AtomDocument, FlowDocument, JsonObject, TableDocument } from '@opsloop/contracts';

/** How much one run may touch in an environment. */
export interface Environment {
  maxInFlight?: number;
  maxTargets?: number;
}

/** What is known around a document. Whatever is absent is not checked: a lone file is never wrong for what lies elsewhere. */
export interface World {
  /** Resolves `name@range`; undefined when it is not known. */
  atom?(ref: string): AtomDocument | undefined;
  flow?(ref: string): FlowDocument | undefined;
  /** Absent: tables are not known. */
  table?(ref: string): TableDocument | undefined;
  /** Versions that are there of a name, for whoever asks for another one. */
  versionsOf?(kind: 'flow' | 'atom', name: string): readonly string[];
  /** True when a reference that does not resolve is a mistake: the whole catalog is at hand. */
  complete?: boolean;
  /** `kind name` of documents that are there and broken: what refers to them is not to blame. */
  broken?: ReadonlySet<string>;
  /** The newest published version of the document. */
  published?: FlowDocument;
  /** Of any flow by its name: what {@link published} is for the one at hand. */
  publishedOf?(name: string): FlowDocument | undefined;
  /** Runs of the published version that are under way. */
  runsInFlight?: number;
  /** Of any flow by its name: what {@link runsInFlight} is for the one at hand. */
  runsInFlightOf?(name: string): number | undefined;
  /** Values of all configs, when any are known. */
  configs?: Readonly<Record<string, JsonObject>>;
  /** Types of all events that come from outside, patterns with "*" among them, when all are known. */
  eventTypes?: ReadonlySet<string>;
  /** Types that flows and sources which are known send, beside those. */
  sentTypes?: ReadonlySet<string>;
  /** Rules, as far as they say what starts what. */
  rules?: readonly {
    name: string;
    on: readonly { type?: string; subject?: string; data?: JsonObject }[];
    starts: readonly string[];
  }[];
  environment?: Environment;
}
