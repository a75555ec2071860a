import type { Access } from "./access.js";
import type { UsageEvent } from "./event.js";

/** What the API says is wrong (RFC 9457, `application/problem+json`). */
export interface Problem {
  /** A stable name to match on, such as `urn:meterline:problem:conflict`. */
  readonly type: string;
  /** The same in words. */
  readonly title: string;
  /** The HTTP status. */
  readonly status: number;
  /** What is wrong with this request; for a developer to read, and it may change. */
  readonly detail: string;
  /** The field that cannot be accepted, where it is one. */
  readonly field?: string;
  /** Why Stripe refused the usage event, where it did. */
  readonly stripeCode?: string;
  /** Units that are left of a limit in units, where it has less left than was to be held. */
  readonly leftUnits?: number;
  /** What is left of a limit in money, so: decimal, in major units. */
  readonly leftAmount?: string;
  /** How the reservation stands whose id is in use for something else, or has ended. */
  readonly reservationStatus?: string;
}

/**
 * What kind of error it is:
 *
 * - `invalid`: the client did not take the arguments; nothing was sent.
 * - `refused`: the API said no: not recorded, or not in this content.
 * - `perhaps_recorded`: no clear answer within the retry budget. Emit again under the error's `eventId`.
 * - `unavailable`: `checkAccess`, `reserve` or `release` had no clear answer within the retry budget.
 * - `limit_reached`: less is left of a hard limit than was to be held; nothing is, and no action was run.
 * - `access_denied`: the customer may not act; the action was not run.
 * - `spool_failed`: the event could not be written to the spool; nothing was sent.
 * - `closed`: the client has been closed; nothing was sent.
 * - `usage_not_recorded`: a model answered, and not all that it used is recorded (`meterline/llm`).
 * - `unreported_usage`: a model answered, and did not say to the end what it used (`meterline/llm`).
 */
export type ErrorKind =
  | "invalid"
  | "refused"
  | "perhaps_recorded"
  | "unavailable"
  | "limit_reached"
  | "access_denied"
  | "spool_failed"
  | "closed"
  | "usage_not_recorded"
  | "unreported_usage";

/** What an error may say besides its message. */
export interface ErrorDetails extends ErrorOptions {
  eventId?: string | undefined;
  reservationId?: string | undefined;
  problem?: Problem | undefined;
}

/** What an action that has run leaves behind where it is not recorded. */
interface Withheld {
  readonly event?: UsageEvent | undefined;
  readonly result?: unknown;
}

/** What every error of this library is. */
export abstract class MeterlineError extends Error {
  /** What to match on. */
  abstract readonly kind: ErrorKind;
  /** Whether the same call again, under the same event id, may succeed. It is always safe. */
  abstract readonly retryable: boolean;
  /** The id of the event, where one had been chosen: emit under it to go on. */
  readonly eventId: string | undefined;
  /** The id of the reservation, where it is about one, or about an event that named one. */
  readonly reservationId: string | undefined;
  /** What the API said, where it answered. */
  readonly problem: Problem | undefined;
  /** Private, so that no log of the error shows a customer's content. */
  #withheld: Withheld = {};

  constructor(message: string, details: ErrorDetails = {}) {
    const { eventId, reservationId, problem, ...options } = details;
    super(message, options);
    this.name = new.target.name;
    this.eventId = eventId;
    this.reservationId = reservationId;
    this.problem = problem;
  }

  /**
   * The whole event of an action that `metered` has run: `emitMany([error.event])` finishes it. None
   * where its units could not be reckoned.
   */
  get event(): UsageEvent | undefined {
    return this.#withheld.event;
  }

  /** What the action of `metered` came to, where it has run. To be used once the event is recorded. */
  get result(): unknown {
    return this.#withheld.result;
  }

  /** Has it carry what the action came to. @internal */
  withhold(event: UsageEvent | undefined, result: unknown): this {
    this.#withheld = { event, result };
    return this;
  }

  /** The stable name of the API's problem, where it answered one. */
  get type(): string | undefined {
    return this.problem?.type;
  }

  /** The API's explanation, where it answered one. */
  get detail(): string | undefined {
    return this.problem?.detail;
  }
}

/**
 * The client did not take the arguments. Nothing was sent; and no action was run, unless it is the units
 * reckoned from its result that cannot be.
 */
export class InvalidUsage extends MeterlineError {
  override readonly kind = "invalid";
  override readonly retryable = false;
}

/** The API said no: the event is not recorded, or not in this content; the units are not held by this call. */
export class Refused extends MeterlineError {
  override readonly kind = "refused";
  override readonly retryable = false;
}

/** No clear answer within the retry budget: emit again under `eventId`, or void it; never assume. */
export class PerhapsRecorded extends MeterlineError {
  override readonly kind = "perhaps_recorded";
  override readonly retryable = true;
}

/**
 * `checkAccess`, `reserve` or `release` had no clear answer within the retry budget. Units are perhaps
 * held: `reserve` again under `reservationId`, or leave them to expire.
 */
export class Unavailable extends MeterlineError {
  override readonly kind = "unavailable";
  override readonly retryable = true;
}

/** Less is left of the customer's hard limit than was to be held. Nothing is, and no action was run. */
export class LimitReached extends MeterlineError {
  override readonly kind = "limit_reached";
  override readonly retryable = false;

  /** Units that are left, where the limit is in units and the API told. */
  get leftUnits(): number | undefined {
    return this.problem?.leftUnits;
  }

  /** What is left, where the limit is in money and the API told: decimal, in major units. */
  get leftAmount(): string | undefined {
    return this.problem?.leftAmount;
  }
}

/** The customer may not act, and the action was not run. */
export class AccessDenied extends MeterlineError {
  override readonly kind = "access_denied";
  override readonly retryable = false;
  /** What the API said of the customer. */
  readonly access: Access;

  constructor(access: Access, details: ErrorDetails = {}) {
    super(`the customer may not act: ${access.reason ?? access.status}`, details);
    this.access = access;
  }
}

/** The event could not be written to the spool, and was not sent. */
export class SpoolFailed extends MeterlineError {
  override readonly kind = "spool_failed";
  override readonly retryable = true;
}

/** The client has been closed. Nothing was sent. */
export class Closed extends MeterlineError {
  override readonly kind = "closed";
  override readonly retryable = false;
}

/** `problem` as the text of a message. */
export function describe(problem: Problem): string {
  return problem.detail === "" ? problem.title : `${problem.title}: ${problem.detail}`;
}
