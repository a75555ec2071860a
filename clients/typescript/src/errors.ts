import type { Access } from "./access.js";

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
}

/**
 * What kind of error it is:
 *
 * - `invalid`: the client did not take the arguments; nothing was sent.
 * - `refused`: the API said no: not recorded, or not in this content.
 * - `perhaps_recorded`: no clear answer within the retry budget. Emit again under the error's `eventId`.
 * - `unavailable`: `checkAccess` had no clear answer within the retry budget.
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
  | "access_denied"
  | "spool_failed"
  | "closed"
  | "usage_not_recorded"
  | "unreported_usage";

/** What an error may say besides its message. */
export interface ErrorDetails extends ErrorOptions {
  eventId?: string | undefined;
  problem?: Problem | undefined;
}

/** What every error of this library is. */
export abstract class MeterlineError extends Error {
  /** What to match on. */
  abstract readonly kind: ErrorKind;
  /** Whether the same call again, under the same event id, may succeed. It is always safe. */
  abstract readonly retryable: boolean;
  /** The id of the event, where one had been chosen: emit under it to go on. */
  readonly eventId: string | undefined;
  /** What the API said, where it answered. */
  readonly problem: Problem | undefined;

  constructor(message: string, { eventId, problem, ...options }: ErrorDetails = {}) {
    super(message, options);
    this.name = new.target.name;
    this.eventId = eventId;
    this.problem = problem;
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

/** The client did not take the arguments. Nothing was sent, and no action was run. */
export class InvalidUsage extends MeterlineError {
  override readonly kind = "invalid";
  override readonly retryable = false;
}

/** The API said no: the event is not recorded, or not in this content. */
export class Refused extends MeterlineError {
  override readonly kind = "refused";
  override readonly retryable = false;
}

/** No clear answer within the retry budget: emit again under `eventId`, or void it; never assume. */
export class PerhapsRecorded extends MeterlineError {
  override readonly kind = "perhaps_recorded";
  override readonly retryable = true;
}

/** `checkAccess` had no clear answer within the retry budget. */
export class Unavailable extends MeterlineError {
  override readonly kind = "unavailable";
  override readonly retryable = true;
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
