import { createHash, randomUUID } from "node:crypto";

import { type ErrorDetails, InvalidUsage } from "./errors.js";
import { unixMs } from "./time.js";
import {
  requireAction,
  requireCustomer,
  requireReservationId,
  requireStripeId,
  requireTime,
  requireUnits,
} from "./validation.js";

/** What may be said of usage besides who did what. */
export interface EmitOptions {
  /** Units: a whole number from 1 to 1,000,000,000. 1 unless given. */
  quantity?: number | undefined;
  /** Your name for the event, at most 255 bytes. One id of one customer counts once, forever. */
  eventId?: string | undefined;
  /** Your name for the work, in place of `eventId`, which is derived from it: {@link eventIdOfJob}. */
  jobId?: string | undefined;
  /**
   * When it happened, if not now, between 2000 and 2100: a `Date`, RFC 3339, or whole unix seconds. It
   * is part of the event's content.
   */
  occurredAt?: Date | string | number | undefined;
  /** The subscription item that you expect to bill, `si_…`; another one is refused. */
  subscriptionItem?: string | undefined;
  /** The reservation that it settles. It is the same event with and without. */
  reservationId?: string | undefined;
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
  /** RFC 3339, or unix seconds. */
  readonly occurred_at?: string | number;
  readonly subscription_item_id?: string;
  readonly reservation_id?: string;
}

/** The API's own limit (openapi.json, `UsageEvent`). */
const EVENT_ID_BYTES_MAX = 255;

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
  const { customer, action, subscriptionItem, reservationId } = event;
  const eventId = chooseEventId(event);
  requireCustomer(customer, { eventId });
  requireAction(action, { eventId });
  if (subscriptionItem !== undefined) {
    requireStripeId("subscriptionItem", subscriptionItem, { eventId });
  }
  if (reservationId !== undefined) requireReservationId(reservationId, { eventId });
  const { occurredAt } = event;
  return {
    event_id: eventId,
    customer_id: customer,
    action_type: action,
    quantity: requireUnits("quantity", event.quantity ?? 1, { eventId }),
    ...(occurredAt !== undefined && {
      occurred_at: requireTime("occurredAt", occurredAt, { eventId }),
    }),
    ...(subscriptionItem !== undefined && { subscription_item_id: subscriptionItem }),
    ...(reservationId !== undefined && { reservation_id: reservationId }),
  };
}

/** A wire event as a caller says it, with the id that it has. */
export function usageEvent(event: WireEvent): UsageEvent & { quantity: number; eventId: string } {
  return {
    customer: event.customer_id,
    action: event.action_type,
    quantity: event.quantity,
    eventId: event.event_id,
    occurredAt: event.occurred_at,
    subscriptionItem: event.subscription_item_id,
    reservationId: event.reservation_id,
  };
}

/** What an error names of an event, to go on under. */
export function idsOf({ event_id, reservation_id }: WireEvent): ErrorDetails {
  return { eventId: event_id, reservationId: reservation_id };
}

/**
 * Whether the API would take one event for a repeat of the other: a time may be written in several
 * ways, and a reservation says where the units were held, not what happened.
 */
export function sameContent(one: WireEvent, other: WireEvent): boolean {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]) as Set<keyof WireEvent>;
  names.delete("reservation_id");
  return [...names].every((name) =>
    name === "occurred_at" ? instant(one) === instant(other) : one[name] === other[name],
  );
}

/** An event's time in unix milliseconds, or as it is written where it is none. */
function instant({ occurred_at }: WireEvent): string | number | undefined {
  return unixMs(occurred_at) ?? occurred_at;
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
