import { randomUUID } from "node:crypto";

import {
  requireAction,
  requireCustomer,
  requireReservationId,
  requireUnits,
  requireWhole,
} from "./validation.js";

/**
 * How a reservation stands: its units are `held`; or were given back (`released`), used (`settled`),
 * or held for too long (`expired`).
 */
export type ReservationStatus = "held" | "released" | "settled" | "expired";

/** Units of a customer's limit that are held before they are used. */
export interface Reservation {
  /** What an event names to settle it. */
  readonly reservationId: string;
  readonly status: ReservationStatus;
  /** Units. */
  readonly quantity: number;
  /** Until when they are held, unless usage settles them before: RFC 3339. */
  readonly expiresAt: string;
}

/** What may be said of a reservation besides who will do what, and how much. */
export interface ReserveOptions {
  /**
   * Your name for it: 1 to 128 of `A-Z a-z 0-9 _ . : ~ -`, but not `.` or `..`. The same request under
   * the same name holds nothing twice. A new one unless given.
   */
  reservationId?: string | undefined;
  /** How long the units are held: 1 to 3,600 s. 300 s unless given. */
  expiresInS?: number | undefined;
}

/** What is to be held, as `POST /v1/usage/reservations` takes it (openapi.json, `ReservationRequest`). */
export interface WireReservation {
  readonly reservation_id: string;
  readonly customer_id: string;
  readonly action_type: string;
  readonly quantity: number;
  readonly expires_in_s?: number;
}

/** The API's own limit. */
const EXPIRES_IN_S_MAX = 3600;

/**
 * What a call wants to hold, with the id that all of its attempts share.
 *
 * @throws {InvalidUsage} for what the API could never take.
 */
export function wireReservation(
  customer: string,
  action: string,
  quantity: number,
  { reservationId = randomUUID(), expiresInS }: ReserveOptions = {},
): WireReservation {
  requireReservationId(reservationId);
  requireCustomer(customer, { reservationId });
  requireAction(action, { reservationId });
  requireUnits("quantity", quantity, { reservationId });
  if (expiresInS !== undefined) {
    requireWhole("expiresInS", expiresInS, EXPIRES_IN_S_MAX, { reservationId });
  }
  return {
    reservation_id: reservationId,
    customer_id: customer,
    action_type: action,
    quantity,
    ...(expiresInS !== undefined && { expires_in_s: expiresInS }),
  };
}

/** The names that make a reservation the one that is spoken of. */
type ReservationKey = Pick<WireReservation, "customer_id" | "reservation_id">;

/** The API's answer (openapi.json, `Reservation`). */
interface Reserved extends ReservationKey {
  status: ReservationStatus;
  quantity: number;
  expires_at: string;
}

/** Reads what the API says of a reservation; undefined where it says nothing of that one. */
export function readReservation(key: ReservationKey, body: unknown): Reservation | undefined {
  const reserved = (body ?? {}) as Partial<Reserved>;
  if (
    reserved.reservation_id !== key.reservation_id ||
    reserved.customer_id !== key.customer_id ||
    typeof reserved.status !== "string" ||
    typeof reserved.quantity !== "number" ||
    typeof reserved.expires_at !== "string"
  ) {
    return undefined;
  }
  return {
    reservationId: reserved.reservation_id,
    status: reserved.status,
    quantity: reserved.quantity,
    expiresAt: reserved.expires_at,
  };
}
