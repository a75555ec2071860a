export type { Access, AccessOptions, CustomerStatus } from "./access.js";
export type { BufferOptions } from "./buffer.js";
export { Meterline, type MeterlineOptions } from "./client.js";
export {
  AccessDenied,
  Closed,
  type ErrorDetails,
  type ErrorKind,
  InvalidUsage,
  LimitReached,
  MeterlineError,
  PerhapsRecorded,
  type Problem,
  Refused,
  SpoolFailed,
  Unavailable,
} from "./errors.js";
export { type EmitOptions, eventIdOfJob, type UsageEvent } from "./event.js";
export type { Metered, MeteredOptions } from "./metered.js";
export type { Recorded, ReservationOutcome, Status } from "./recorded.js";
export type { Reservation, ReservationStatus, ReserveOptions } from "./reservation.js";
export type { SpendingLimit, SpendingLimitAlert } from "./spending_limit.js";
export type { SpoolState } from "./spool.js";
