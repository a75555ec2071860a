import { createHash, randomUUID } from "node:crypto";

import { InvalidUsage } from "./errors.js";

/** What may be said of usage besides who did what. */
export interface EmitOptions {
  /** Units: a whole number from 1 to 1,000,000,000. 1 unless given. */
  quantity?: number | undefined;
  /** Your name for the event, at most 255 bytes. One id of one customer counts once, forever. */
  eventId?: string | undefined;
  /** Your name for the work, in place of `eventId`, which is derived from it: {@link eventIdOfJob}. */
  jobId?: string | undefined;
  /** When it happened, if not now: a `Date`, or RFC 3339. It is part of the event's content. */
  occurredAt?: Date | string | undefined;
  /** The subscription item that you expect to bill, `si_…`; another one is refused. */
  subscriptionItem?: string | undefined;
}

/** Usage of a customer. */
export interface UsageEvent extends EmitOptions {
  /** Stripe's id of who pays, `cus_…`. */
  customer: string;
  /** What was done, as the operator's catalog names it. */
  action: string;
}

/** A usage event as `POST /v1/usage` takes it (openapi.json, `UsageEvent`). */
export interface WireEvent {
  readonly event_id: string;
  readonly customer_id: string;
  readonly action_type: string;
  readonly quantity: number;
  /** RFC 3339; or unix seconds, of an event that another language's client spooled. */
  readonly occurred_at?: string | number;
  readonly subscription_item_id?: string;
}

// The API's own limits (openapi.json, `UsageEvent`), held here too: what can never be recorded must
// neither get into a spool, nor into a batch beside the events of others.
const QUANTITY_MAX = 1_000_000_000;
const EVENT_ID_BYTES_MAX = 255;
const STRIPE_ID = /^[A-Za-z0-9_]{1,64}$/;
const ACTION_TYPE = /^[A-Za-z0-9_.:-]{1,64}$/;

/**
 * The event id of an action in a job: `job-` and the first 40 digits of the lower-case hex SHA-256
 * of `meterline job 1`, the job id and the action, with a line feed between them. It is the same in
 * every language, so a job that moves from one to another is billed once.
 */
export function eventIdOfJob(jobId: string, action: string): string {
  const text = `meterline job 1\n${jobId}\n${action}`;
  return `job-${createHash("sha256").update(text, "utf8").digest("hex").slice(0, 40)}`;
}

/**
 * The event that a call means, with the id that all of its attempts share.
 *
 * @throws {InvalidUsage} for what the API could never take.
 */
export function wireEvent(event: UsageEvent): WireEvent {
  const { customer, action, subscriptionItem } = event;
  const eventId = chooseEventId(event);
  const occurredAt = occurredAtText(event.occurredAt, eventId);
  requireMatch("customer", customer, STRIPE_ID, eventId);
  requireMatch("action", action, ACTION_TYPE, eventId);
  if (subscriptionItem !== undefined) {
    requireMatch("subscriptionItem", subscriptionItem, STRIPE_ID, eventId);
  }
  return {
    event_id: eventId,
    customer_id: customer,
    action_type: action,
    quantity: requireQuantity(event.quantity ?? 1, eventId),
    ...(occurredAt !== undefined && { occurred_at: occurredAt }),
    ...(subscriptionItem !== undefined && { subscription_item_id: subscriptionItem }),
  };
}

/** `quantity`, if it is one. */
export function requireQuantity(quantity: number, eventId: string): number {
  if (Number.isInteger(quantity) && quantity >= 1 && quantity <= QUANTITY_MAX) return quantity;
  throw new InvalidUsage(`quantity must be a whole number from 1 to ${QUANTITY_MAX}`, { eventId });
}

/** @throws {InvalidUsage} for what is no customer's id. */
export function requireCustomer(customer: string): void {
  requireMatch("customer", customer, STRIPE_ID);
}

/** Whether the API would take one event for a repeat of the other: a time may be written in several ways. */
export function sameContent(one: WireEvent, other: WireEvent): boolean {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]) as Set<keyof WireEvent>;
  return [...names].every((name) =>
    name === "occurred_at"
      ? instant(one.occurred_at) === instant(other.occurred_at)
      : one[name] === other[name],
  );
}

/** A time in unix milliseconds, or as it is written where it is none. */
function instant(at: string | number | undefined): string | number | undefined {
  // In unix seconds other languages' clients write them.
  if (typeof at === "number") return at * 1000;
  const parsedMs = at === undefined ? Number.NaN : Date.parse(at);
  return Number.isNaN(parsedMs) ? at : parsedMs;
}

function chooseEventId({ action, eventId, jobId }: UsageEvent): string {
  if (eventId !== undefined && jobId !== undefined) {
    throw new InvalidUsage("give an eventId or a jobId, not both");
  }
  if (jobId !== undefined) {
    requireText("jobId", jobId);
    return eventIdOfJob(jobId, action);
  }
  if (eventId === undefined) return randomUUID();
  requireText("eventId", eventId);
  if (Buffer.byteLength(eventId, "utf8") > EVENT_ID_BYTES_MAX) {
    throw new InvalidUsage(`eventId has more than ${EVENT_ID_BYTES_MAX} bytes`);
  }
  return eventId;
}

/** Text with a lone surrogate has no UTF-8: two such ids would become one on their way. */
function requireText(name: string, value: string): void {
  if (typeof value !== "string" || value === "" || !value.isWellFormed()) {
    throw new InvalidUsage(`${name} must be text, and not empty`);
  }
}

function requireMatch(name: string, value: string, pattern: RegExp, eventId?: string): void {
  if (typeof value !== "string" || !pattern.test(value)) {
    throw new InvalidUsage(`${name} must match ${pattern.source}`, { eventId });
  }
}

function occurredAtText(at: Date | string | undefined, eventId: string): string | undefined {
  if (at === undefined || typeof at === "string") return at;
  if (at instanceof Date && !Number.isNaN(at.getTime())) return at.toISOString();
  throw new InvalidUsage("occurredAt must be a valid Date, or RFC 3339", { eventId });
}
