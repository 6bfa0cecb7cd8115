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
  /** Values of all configs, when any are known. */
  configs?: Readonly<Record<string, JsonObject>>;
  /** Event types that anything sends, when all are known. */
  eventTypes?: ReadonlySet<string>;
  /** Rules, as far as they say what starts what. */
  rules?: readonly {
    name: string;
    on: readonly { type?: string; subject?: string; data?: JsonObject }[];
    starts: readonly string[];
  }[];
  environment?: Environment;
}
