import { createRequire } from "node:module";

import { MeterlineError } from "./errors.js";
import type { WireEvent } from "./event.js";
import type { Outcome } from "./recorder.js";
import type { WireReservation } from "./reservation.js";

// As much of `@opentelemetry/api` as is used. Its own types would be a dependency of whoever
// compiles against this library.
type Attributes = Record<string, string | number | boolean>;
interface Span {
  setAttributes(attributes: Attributes): unknown;
  recordException(error: Error): void;
  setStatus(status: { code: number; message?: string }): unknown;
  end(): void;
}
interface OpenTelemetry {
  trace: {
    getTracer(name: string): {
      startActiveSpan<T>(
        name: string,
        options: { kind: number; attributes: Attributes },
        work: (span: Span) => T,
      ): T;
    };
  };
  context: { active(): unknown };
  propagation: { inject(context: unknown, carrier: Record<string, string>): void };
  SpanKind: { CLIENT: number };
  SpanStatusCode: { ERROR: number };
}

const openTelemetry = load();

/** The API of OpenTelemetry, if the application has it. It does nothing until a provider is registered. */
function load(): OpenTelemetry | undefined {
  try {
    return createRequire(import.meta.url)("@opentelemetry/api") as OpenTelemetry;
  } catch {
    return undefined;
  }
}

/** A span `meterline.emit` around the recording of events, with what became of them. */
export async function traceEmit(
  events: readonly WireEvent[],
  record: () => Promise<Outcome[]>,
): Promise<Outcome[]> {
  return traced("meterline.emit", emitAttributes(events), async (span, api) => {
    const outcomes = await record();
    span?.setAttributes(outcomeAttributes(outcomes));
    const failure = outcomes.find((outcome) => outcome instanceof MeterlineError);
    if (span && failure instanceof MeterlineError) fail(span, failure, api);
    return outcomes;
  });
}

/** A span `meterline.check_access`. */
export async function traceAccess<T>(customer: string, ask: () => Promise<T>): Promise<T> {
  return traced("meterline.check_access", { "meterline.customer_id": customer }, ask);
}

/** A span `meterline.reserve`, with what became of the reservation. */
export async function traceReserve<T extends { status: string }>(
  wanted: WireReservation,
  hold: () => Promise<T>,
): Promise<T> {
  const attributes: Attributes = {
    "meterline.customer_id": wanted.customer_id,
    "meterline.action_type": wanted.action_type,
    "meterline.quantity": wanted.quantity,
    "meterline.reservation_id": wanted.reservation_id,
  };
  return traced("meterline.reserve", attributes, async (span) => {
    const reservation = await hold();
    span?.setAttributes({ "meterline.status": reservation.status });
    return reservation;
  });
}

/** A span `meterline.release`. */
export async function traceRelease<T>(
  customer: string,
  reservationId: string,
  release: () => Promise<T>,
): Promise<T> {
  const attributes: Attributes = {
    "meterline.customer_id": customer,
    "meterline.reservation_id": reservationId,
  };
  return traced("meterline.release", attributes, release);
}

/** The headers that carry the current trace to the API. */
export function traceHeaders(): Record<string, string> {
  const headers: Record<string, string> = {};
  openTelemetry?.propagation.inject(openTelemetry.context.active(), headers);
  return headers;
}

async function traced<T>(
  name: string,
  attributes: Attributes,
  work: (span: Span | undefined, api: OpenTelemetry | undefined) => Promise<T>,
): Promise<T> {
  if (openTelemetry === undefined) return work(undefined, undefined);
  const api = openTelemetry;
  const tracer = api.trace.getTracer("meterline");
  return tracer.startActiveSpan(name, { kind: api.SpanKind.CLIENT, attributes }, async (span) => {
    try {
      return await work(span, api);
    } catch (error) {
      if (error instanceof MeterlineError) span.setAttributes({ "meterline.status": error.kind });
      if (error instanceof Error) fail(span, error, api);
      throw error;
    } finally {
      span.end();
    }
  });
}

function fail(span: Span, error: Error, api: OpenTelemetry | undefined): void {
  span.recordException(error);
  if (api) span.setStatus({ code: api.SpanStatusCode.ERROR, message: error.message });
}

function emitAttributes(events: readonly WireEvent[]): Attributes {
  const [event] = events;
  if (event === undefined || events.length > 1) return { "meterline.events": events.length };
  return {
    "meterline.events": 1,
    "meterline.customer_id": event.customer_id,
    "meterline.action_type": event.action_type,
    "meterline.quantity": event.quantity,
    "meterline.event_id": event.event_id,
    ...(event.reservation_id !== undefined && { "meterline.reservation_id": event.reservation_id }),
  };
}

function outcomeAttributes(outcomes: readonly Outcome[]): Attributes {
  const attributes: Attributes = {
    "meterline.duplicates": outcomes.filter(
      (outcome) => "duplicate" in outcome && outcome.duplicate,
    ).length,
  };
  const statuses = outcomes.map((outcome) => ("status" in outcome ? outcome.status : outcome.kind));
  for (const status of statuses) {
    if (statuses.length === 1) attributes["meterline.status"] = status;
    else attributes[`meterline.events.${status}`] = statuses.filter((it) => it === status).length;
  }
  return attributes;
}
