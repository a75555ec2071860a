import { type ErrorDetails, MeterlineError } from "../errors.js";
import type { UsageEvent } from "../event.js";
import type { TokenEvents, UnnamedTokens } from "./tokens.js";

/**
 * A model answered, and not all of its usage is recorded.
 *
 * The answer is in `response`: to ask the model again would cost again. Emit `events`
 * (`Meterline.emitMany`), which is always safe, then use it. `unnamed` is what the caller's function
 * had no name for, or none that can be: name it, and emit it under its `eventId`.
 */
export class UsageNotRecorded extends MeterlineError {
  override readonly kind = "usage_not_recorded";
  override readonly retryable: boolean;
  /** Why, for each of `events`, then for each of `unnamed`. */
  readonly errors: readonly MeterlineError[];
  /** The events that are not recorded, or only perhaps. */
  readonly events: readonly UsageEvent[];
  /** Tokens that are no events yet. */
  readonly unnamed: readonly UnnamedTokens[];
  /** The answer's JSON; undefined of a stream, whose parts were handed out. */
  readonly response: unknown;

  constructor(
    failed: readonly (readonly [UsageEvent, MeterlineError])[],
    unnamed: TokenEvents["unnamed"],
    response: unknown,
  ) {
    const errors = [...failed, ...unnamed].map(([, error]) => error);
    const [first] = errors;
    const details: ErrorDetails = { eventId: first?.eventId, problem: first?.problem };
    super(`a model's usage is not recorded: ${first?.message}`, { ...details, cause: first });
    this.errors = errors;
    this.events = failed.map(([event]) => event);
    this.unnamed = unnamed.map(([tokens]) => tokens);
    this.retryable = errors.every((error) => error.retryable);
    this.response = response;
  }
}

/**
 * A model answered, and did not say what it used, or not to the end. What it said is recorded; the
 * rest is not known here.
 */
export class UnreportedUsage extends MeterlineError {
  override readonly kind = "unreported_usage";
  override readonly retryable = false;
  /** The answer's JSON; undefined of a stream. */
  readonly response: unknown;

  constructor(message: string, response: unknown) {
    super(message);
    this.response = response;
  }
}
