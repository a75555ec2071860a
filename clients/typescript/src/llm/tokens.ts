import type { UsageEvent } from "../event.js";

/** The kinds of tokens. They do not overlap: each token is of one kind. */
export type TokenKind = "input" | "output" | "cache_read" | "cache_write";

/** The kinds of tokens, in the order in which they are recorded. */
export const TOKEN_KINDS: readonly TokenKind[] = ["input", "output", "cache_read", "cache_write"];

/** What a kind of tokens of a model is called on the bill. */
export type ActionOf = (kind: TokenKind, model: string) => string;

/** How many tokens of each kind. */
export type Tokens = Readonly<Record<TokenKind, number>>;

/** What an answer says of its usage. */
export interface Report {
  /** The provider's id of the answer, from which the ids of its events are derived. */
  readonly responseId: string;
  readonly model: string;
  readonly tokens: Tokens;
  /** Whether that is all of it. */
  readonly isFinal: boolean;
}

/** `llm.input`, `llm.output`, `llm.cache_read`, `llm.cache_write`. */
export function defaultAction(kind: TokenKind): string {
  return `llm.${kind}`;
}

/** An event for each kind of which there are tokens, under the id `{response id}:{kind}`. */
export function tokenEvents(report: Report, customer: string, action: ActionOf): UsageEvent[] {
  return TOKEN_KINDS.filter((kind) => report.tokens[kind] > 0).map((kind) => ({
    customer,
    action: action(kind, report.model),
    quantity: report.tokens[kind],
    eventId: `${report.responseId}:${kind}`,
  }));
}

/** A count of an answer; 0 where it has none. */
export function count(value: unknown): number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : 0;
}

/** A value's members; none where it has none. */
export function members(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

/** A text of an answer; empty where it has none. */
export function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
