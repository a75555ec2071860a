import type { CustomerStatus } from "./access.js";
import type { WireEvent } from "./event.js";

/**
 * Where an event is that will not be lost:
 *
 * - `delivered`: Stripe has it.
 * - `pending`: it is durable, and will be delivered by itself.
 * - `held`, `quarantined`: it is durable, and the operator knows that it needs a look.
 * - `spooled`: it is on this machine's disk, and will be sent when the API answers again.
 */
export type Status = "delivered" | "pending" | "held" | "quarantined" | "spooled";

/**
 * What became of the reservation that an event names, which is recorded in any case:
 *
 * - `settled`: its units are held no more, whatever the event used.
 * - `expired`, `released`, `settled_before`: it had ended so before.
 * - `other_meter`: it is held, still: the event's action is counted by another meter.
 * - `unknown`: the customer has no such reservation.
 */
export type ReservationOutcome =
  | "settled"
  | "expired"
  | "released"
  | "settled_before"
  | "other_meter"
  | "unknown";

/** An event that will not be lost. */
export interface Recorded {
  readonly eventId: string;
  readonly status: Status;
  /** Whether an earlier call had recorded it: this one bills nothing. */
  readonly duplicate: boolean;
  /** Units, as recorded. */
  readonly quantity: number;
  /** The customer's standing; null of what is only spooled. */
  readonly customerStatus: CustomerStatus | null;
  /** What became of its reservation; null where it named none, and of what is only spooled. */
  readonly reservation: ReservationOutcome | null;
  /** Stripe's id of the usage, where the way into Stripe gives one. */
  readonly stripeRecordId?: string;
}

/** The API's answer for an event that is durable (openapi.json, `Emitted`). */
interface Emitted {
  event_id: string;
  status: Status;
  duplicate: boolean;
  quantity: number;
  customer_status?: CustomerStatus;
  reservation?: ReservationOutcome;
  stripe_record_id?: string;
}

/** Reads what the API says of `event`; undefined where it says nothing of it, or not that it is recorded. */
export function readRecorded(event: WireEvent, body: unknown): Recorded | undefined {
  const emitted = (body ?? {}) as Partial<Emitted>;
  if (
    emitted.event_id !== event.event_id ||
    typeof emitted.status !== "string" ||
    typeof emitted.duplicate !== "boolean" ||
    typeof emitted.quantity !== "number"
  ) {
    return undefined;
  }
  return {
    eventId: emitted.event_id,
    status: emitted.status,
    duplicate: emitted.duplicate,
    quantity: emitted.quantity,
    customerStatus: emitted.customer_status ?? null,
    reservation: emitted.reservation ?? null,
    ...(emitted.stripe_record_id !== undefined && { stripeRecordId: emitted.stripe_record_id }),
  };
}

/** An event that is safe on this machine's disk. */
export function spooled(event: WireEvent): Recorded {
  return {
    eventId: event.event_id,
    status: "spooled",
    duplicate: false,
    quantity: event.quantity,
    customerStatus: null,
    reservation: null,
  };
}
