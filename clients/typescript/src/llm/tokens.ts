import { InvalidUsage, type MeterlineError } from "../errors.js";
import { type UsageEvent, wireEvent } from "../event.js";

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
  /** The provider's id of the answer, from which the ids of its events are derived; empty where it has none. */
  readonly responseId: string;
  readonly model: string;
  readonly tokens: Tokens;
  /** Whether that is all of it. */
  readonly isFinal: boolean;
  /** What other models used, which this one asked for advice, by their names. */
  readonly advisors?: ReadonlyMap<string, Tokens>;
}

/** `llm.input`, `llm.output`, `llm.cache_read`, `llm.cache_write`. */
export function defaultAction(kind: TokenKind): string {
  return `llm.${kind}`;
}

/** Tokens without a name on the bill: what names them failed. */
export interface UnnamedTokens {
  readonly kind: TokenKind;
  readonly model: string;
  /** How many. */
  readonly quantity: number;
  /** The id to record them under, once they have a name. */
  readonly eventId: string;
}

/** What is to be recorded of an answer, and what cannot be, with the reason. */
export interface TokenEvents {
  readonly events: readonly UsageEvent[];
  readonly unnamed: readonly (readonly [UnnamedTokens, MeterlineError])[];
}

/**
 * An event for each kind of which there are tokens, under the id `{response id}:{kind}`; of an
 * advisor, `{response id}:advisor:{model}:{kind}`.
 */
export function tokenEvents(report: Report, customer: string, action: ActionOf): TokenEvents {
  const events: UsageEvent[] = [];
  const unnamed: [UnnamedTokens, MeterlineError][] = [];
  for (const { kind, model, quantity, eventId } of counted(report)) {
    try {
      const event = { customer, action: action(kind, model), quantity, eventId };
      wireEvent(event);
      events.push(event);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      const message = `${quantity} ${kind} tokens of ${model} have no name on the bill: ${reason}`;
      const error = new InvalidUsage(message, { eventId, cause });
      unnamed.push([{ kind, model, quantity, eventId }, error]);
    }
  }
  return { events, unnamed };
}

function counted({ responseId, model, tokens, advisors = new Map() }: Report): UnnamedTokens[] {
  const kindsOf = (prefix: string, model: string, tokens: Tokens) =>
    TOKEN_KINDS.map((kind) => ({
      kind,
      model,
      quantity: tokens[kind],
      eventId: `${prefix}:${kind}`,
    }));
  const ofAdvisors = [...advisors].flatMap(([advisor, used]) =>
    kindsOf(`${responseId}:advisor:${advisor}`, advisor, used),
  );
  const all = [...kindsOf(responseId, model, tokens), ...ofAdvisors];
  return all.filter(({ quantity }) => quantity > 0);
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
