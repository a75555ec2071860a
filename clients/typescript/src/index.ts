export type { Access, CustomerStatus } from "./access.js";
export type { BufferOptions } from "./buffer.js";
export { type Metered, type MeteredOptions, Meterline, type MeterlineOptions } from "./client.js";
export {
  AccessDenied,
  Closed,
  type ErrorDetails,
  type ErrorKind,
  InvalidUsage,
  MeterlineError,
  PerhapsRecorded,
  type Problem,
  Refused,
  SpoolFailed,
  Unavailable,
} from "./errors.js";
export { type EmitOptions, eventIdOfJob, type UsageEvent } from "./event.js";
export type { Recorded, Status } from "./recorded.js";
export type { SpoolState } from "./spool.js";
