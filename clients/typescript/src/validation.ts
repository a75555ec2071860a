import { type ErrorDetails, InvalidUsage } from "./errors.js";
import { unixMs } from "./time.js";

// The API's own limits (openapi.json), held here too: what can never be recorded must neither get
// into a spool, nor into a batch beside the events of others.
const QUANTITY_MAX = 1_000_000_000;
const LIMIT_UNITS_MAX = 1_000_000_000_000_000;
const EARLIEST_MS = Date.UTC(2000, 0);
const LATEST_MS = Date.UTC(2100, 0);
const STRIPE_ID = /^[A-Za-z0-9_]{1,64}$/;
const ACTION_TYPE = /^[A-Za-z0-9_.:-]{1,64}$/;
// A part of an address: `.` and `..` would be another one.
const RESERVATION_ID = /^(?!\.\.?$)[A-Za-z0-9_.:~-]{1,128}$/;

/** @throws {InvalidUsage} for what is no id of Stripe's. */
export function requireStripeId(name: string, value: string, details?: ErrorDetails): void {
  requireMatch(name, value, STRIPE_ID, details);
}

/** @throws {InvalidUsage} for what is no customer's id. */
export function requireCustomer(customer: string, details?: ErrorDetails): void {
  requireStripeId("customer", customer, details);
}

/** @throws {InvalidUsage} for what no catalog can name. */
export function requireAction(action: string, details?: ErrorDetails): void {
  requireMatch("action", action, ACTION_TYPE, details);
}

/** @throws {InvalidUsage} for what is no reservation's id. */
export function requireReservationId(reservationId: string, details?: ErrorDetails): void {
  requireMatch("reservationId", reservationId, RESERVATION_ID, details);
}

/** `units`, if an event may have so many. `name` is what the caller calls them. */
export function requireUnits(name: string, units: number, details?: ErrorDetails): number {
  return requireWhole(name, units, QUANTITY_MAX, details);
}

/** `units`, if a limit may have so many: more fit into none. */
export function requireLimitUnits(name: string, units: number): number {
  return requireWhole(name, units, LIMIT_UNITS_MAX);
}

/** `value`, if it is a whole number from 1 to `max`. */
export function requireWhole(
  name: string,
  value: number,
  max: number,
  details?: ErrorDetails,
): number {
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new InvalidUsage(`${name} must be a whole number from 1 to ${max}`, details);
}

/** `at` as it is sent, if an event may have happened then. `name` is what the caller calls it. */
export function requireTime(
  name: string,
  at: Date | string | number,
  details?: ErrorDetails,
): string | number {
  const ms = at instanceof Date ? at.getTime() : unixMs(at);
  if (ms === undefined || Number.isNaN(ms)) {
    const message = `${name} must be a valid Date, RFC 3339 or whole unix seconds`;
    throw new InvalidUsage(message, details);
  }
  if (ms < EARLIEST_MS || ms > LATEST_MS) {
    const message = `${name} must lie between the years 2000 and 2100; unix times are in seconds`;
    throw new InvalidUsage(message, details);
  }
  return at instanceof Date ? at.toISOString() : at;
}

function requireMatch(name: string, value: string, pattern: RegExp, details?: ErrorDetails): void {
  if (typeof value !== "string" || !pattern.test(value)) {
    throw new InvalidUsage(`${name} must match ${pattern.source}`, details);
  }
}
