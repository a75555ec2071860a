import { type ErrorDetails, MeterlineError } from "../errors.js";
import type { UsageEvent } from "../event.js";

/**
 * A model answered, and not all of its usage is recorded.
 *
 * The answer is in `response`: to ask the model again would cost again. Emit `events`
 * (`Meterline.emitMany`), which is always safe, then use it.
 */
export class UsageNotRecorded extends MeterlineError {
  override readonly kind = "usage_not_recorded";
  override readonly retryable: boolean;
  /** Why, for each of `events`. */
  readonly errors: readonly MeterlineError[];
  /** The events that are not recorded, or only perhaps. */
  readonly events: readonly UsageEvent[];
  /** The answer's JSON; undefined of a stream, whose parts were handed out. */
  readonly response: unknown;

  constructor(failed: readonly [UsageEvent, MeterlineError][], response: unknown) {
    const [, first] = failed[0] ?? [];
    const details: ErrorDetails = { eventId: first?.eventId, problem: first?.problem };
    super(`a model's usage is not recorded: ${first?.message}`, { ...details, cause: first });
    this.errors = failed.map(([, error]) => error);
    this.events = failed.map(([event]) => event);
    this.retryable = this.errors.every((error) => error.retryable);
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
