import { describe, type Problem } from "./errors.js";
import type { WireEvent } from "./event.js";
import { type Recorded, readRecorded } from "./recorded.js";
import type { Answer } from "./transport.js";

/** What one attempt says of one event. */
export type Fate =
  | { readonly fate: "recorded"; readonly recorded: Recorded }
  | { readonly fate: "refused"; readonly problem: Problem }
  | Unclear;

/** No clear answer: the event may be recorded. */
export interface Unclear {
  readonly fate: "unclear";
  /** What happened, in words. */
  readonly reason: string;
  /** False where it is certain that nothing was recorded by this attempt. */
  readonly perhapsReached: boolean;
  /** The API's words, where it answered. */
  readonly problem?: Problem;
  /** How long the server asks to wait. */
  readonly retryAfterMs?: number | undefined;
}

/** Refusals of the key, which can be mended, and not of what was sent. */
const ABOUT_THE_KEY = new Set([401, 403]);

/** Whether the answer is one to try again after. */
export function isUnclear(answer: Answer): boolean {
  if (!answer.answered) return true;
  const { status, body } = answer;
  if (status >= 200 && status <= 299) return false;
  if (status === 408 || status === 429) return true;
  // A gateway before the API may refuse keys in its own words.
  if (ABOUT_THE_KEY.has(status)) return false;
  // Who redirects, or refuses without a problem of Meterline's, is somebody else, such as a proxy,
  // and refuses nothing in its name.
  return status < 400 || status > 499 || !isMeterlines(readProblem(status, body));
}

function isMeterlines({ type }: Problem): boolean {
  return type.startsWith("urn:meterline:problem:");
}

/** Whether the refusal may end, once the key is mended. */
export function isAboutTheKey(problem: Problem): boolean {
  return ABOUT_THE_KEY.has(problem.status);
}

/** The fate of the event that was the whole of a request. */
export function fateOf(event: WireEvent, answer: Answer): Fate {
  if (isUnclear(answer) || !answer.answered) return unclear(answer);
  if (answer.status < 200 || answer.status > 299) {
    return { fate: "refused", problem: readProblem(answer.status, answer.body) };
  }
  const recorded = readRecorded(event, answer.body);
  // Not the API's own words, or cut off: it proves nothing.
  return recorded ? { fate: "recorded", recorded } : unreadable();
}

/** The fates of the events of a batch, in order. */
export function fatesOf(events: readonly WireEvent[], answer: Answer): Fate[] {
  if (!answer.answered || answer.status !== 200) {
    return events.map((event) => fateOf(event, answer));
  }
  const { results } = (answer.body ?? {}) as { results?: unknown };
  if (!Array.isArray(results) || results.length !== events.length) {
    return events.map(unreadable);
  }
  return events.map((event, index) => resultFate(event, results[index]));
}

/** `status` and `body` as a problem, also where API Gateway or a proxy wrote them. */
export function readProblem(status: number, body: unknown): Problem {
  const given = (body ?? {}) as Record<string, unknown>;
  const text = (name: string) => (typeof given[name] === "string" ? given[name] : undefined);
  const field = text("field");
  const stripeCode = text("stripe_code");
  const leftUnits = given["left_units"];
  const leftAmount = text("left_amount");
  const reservationStatus = text("reservation_status");
  return {
    type: text("type") ?? "about:blank",
    title: text("title") ?? `status ${status}`,
    status,
    detail: text("detail") ?? text("message") ?? "",
    ...(field !== undefined && { field }),
    ...(stripeCode !== undefined && { stripeCode }),
    ...(typeof leftUnits === "number" && { leftUnits }),
    ...(leftAmount !== undefined && { leftAmount }),
    ...(reservationStatus !== undefined && { reservationStatus }),
  };
}

/** An answer that is no clear one, in words. */
export function unclear(answer: Answer): Unclear {
  if (!answer.answered) {
    return { fate: "unclear", reason: answer.reason, perhapsReached: answer.perhapsReached };
  }
  const problem = readProblem(answer.status, answer.body);
  return {
    fate: "unclear",
    reason: `${answer.status} ${describe(problem)}`,
    problem,
    // Over its rate, a request is turned away before anything is recorded.
    perhapsReached: answer.status !== 429,
    retryAfterMs: answer.retryAfterMs,
  };
}

/**
 * A refusal after an attempt that perhaps reached the API, and that does not speak of the matter
 * itself: it says nothing of what happened before. A key may have been revoked since.
 */
export function inDoubt(problem: Problem): Unclear {
  const reason = `an answer was lost; after it: ${problem.status} ${describe(problem)}`;
  return { fate: "unclear", reason, problem, perhapsReached: true };
}

/** A success that proves nothing. */
export function unreadable(): Unclear {
  return {
    fate: "unclear",
    reason: "an answer that cannot be read, or about something else",
    perhapsReached: true,
  };
}

function resultFate(event: WireEvent, result: unknown): Fate {
  const recorded = readRecorded(event, result);
  if (recorded) return { fate: "recorded", recorded };
  const { status, error } = (result ?? {}) as { status?: unknown; error?: unknown };
  const { status: httpStatus } = (error ?? {}) as { status?: unknown };
  // Neither: it proves nothing.
  if (typeof status !== "string" || typeof httpStatus !== "number") return unreadable();
  const problem = readProblem(httpStatus, error);
  if (status === "unknown") {
    return { fate: "unclear", reason: describe(problem), problem, perhapsReached: true };
  }
  return { fate: "refused", problem };
}
