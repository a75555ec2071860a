import { InvalidUsage } from "./errors.js";
import { type EmitOptions, type WireEvent, wireEvent } from "./event.js";
import type { Recorded } from "./recorded.js";
import { type WireReservation, wireReservation } from "./reservation.js";
import { requireUnits } from "./validation.js";

/** What may be said of a metered action. */
export interface MeteredOptions<T> extends Omit<EmitOptions, "quantity"> {
  /** Units, or what reckons them from the action's result. 1 unless given. */
  quantity?: number | ((result: T) => number) | undefined;
  /** Whether to ask first if the customer may act. The key must be allowed to read. */
  checkAccess?: boolean | undefined;
  /**
   * Units to hold of the customer's limit before the action is run, under a new id; its event settles
   * them. Unless they are held it is not run, and if it throws they are given back.
   */
  reserve?: number | undefined;
}

/** An action's result, and the record of its usage. */
export interface Metered<T> {
  readonly result: T;
  readonly usage: Recorded;
}

/** An action, and what goes before and after it. */
export interface Plan<T> {
  readonly run: () => T | PromiseLike<T>;
  readonly event: WireEvent;
  /** Says the event's units, where they are not fixed. */
  readonly reckon: ((result: T) => number) | undefined;
  readonly checkAccess: boolean;
  /** What is to be held before. */
  readonly wanted: WireReservation | undefined;
}

/**
 * What a call of `metered` means.
 *
 * @throws {InvalidUsage} for what the API could never take.
 */
export function planned<T>(
  customer: string,
  action: string,
  run: () => T | PromiseLike<T>,
  { quantity, checkAccess = false, reserve, ...rest }: MeteredOptions<T>,
): Plan<T> {
  const reckon = typeof quantity === "function" ? quantity : undefined;
  const fixed = typeof quantity === "function" ? 1 : quantity;
  const event = wireEvent({ ...rest, customer, action, quantity: fixed });
  if (reserve === undefined) return { run, event, reckon, checkAccess, wanted: undefined };
  const details = { eventId: event.event_id };
  if (event.reservation_id !== undefined) {
    throw new InvalidUsage("give a reservationId or reserve, not both", details);
  }
  const wanted = wireReservation(customer, action, requireUnits("reserve", reserve, details));
  const settling = { ...event, reservation_id: wanted.reservation_id };
  return { run, event: settling, reckon, checkAccess, wanted };
}

/**
 * The event of the action that came to `result`.
 *
 * @throws {InvalidUsage} with the result, where its units cannot be reckoned.
 */
export function usedBy<T>({ event, reckon }: Plan<T>, result: T): WireEvent {
  if (reckon === undefined) return event;
  const details = { eventId: event.event_id };
  try {
    return { ...event, quantity: requireUnits("quantity", reckon(result), details) };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `the action has run, and its units cannot be reckoned: ${reason}`;
    throw new InvalidUsage(message, { ...details, cause }).withhold(undefined, result);
  }
}
