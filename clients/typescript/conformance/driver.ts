// Does with the client what lines of JSON say: clients/conformance/README.md.

import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import { type EmitOptions, Meterline, MeterlineError, type Recorded } from "../src/index.js";

interface Settings {
  url: string;
  api_key: string;
  retry_budget_ms: number;
  request_timeout_ms: number;
  buffer: { events_max: number; wait_ms: number } | null;
  spool_dir: string | null;
}

/** The fields of every operation. They go to the client as they are: refusing them is its work. */
interface Request {
  id: number;
  op: string;
  settings: Settings;
  customer_id: string;
  action_type: string;
  quantity?: number;
  event_id?: string;
  job_id?: string;
  occurred_at?: string;
  reservation_id?: string;
  expires_in_s?: number;
  units?: number;
  reserve?: number;
  check_access?: boolean;
  action: { result?: unknown; throws?: string; takes_ms?: number };
}

let client: Meterline | undefined;

async function answer(request: Request): Promise<unknown> {
  if (request.op === "open") {
    client = open(request.settings);
    return {};
  }
  if (client === undefined) throw new Error("no client is open");
  switch (request.op) {
    case "emit":
      return recordedFields(
        await client.emit(request.customer_id, request.action_type, options(request)),
      );
    case "check_access": {
      const { customer_id, units, action_type: action } = request;
      return snakeCased(await client.checkAccess(customer_id, { units, action }));
    }
    case "reserve":
      return reserve(client, request);
    case "release":
      return { status: await client.release(request.customer_id, request.reservation_id ?? "") };
    case "metered":
      return metered(client, request);
    case "flush": {
      const { waiting, setAside } = await client.flush();
      return { waiting, set_aside: setAside };
    }
    case "close":
      await client.close();
      return {};
    default:
      throw new Error(`no operation ${request.op}`);
  }
}

function open(settings: Settings): Meterline {
  const { buffer, spool_dir } = settings;
  return new Meterline({
    url: settings.url,
    apiKey: settings.api_key,
    retryBudgetMs: settings.retry_budget_ms,
    requestTimeoutMs: settings.request_timeout_ms,
    buffer: buffer ? { eventsMax: buffer.events_max, waitMs: buffer.wait_ms } : undefined,
    spoolDir: spool_dir ?? undefined,
    onBackgroundError: (error) => console.error(error.message),
  });
}

async function metered(client: Meterline, request: Request): Promise<unknown> {
  const { action } = request;
  const run = async () => {
    await sleep(action.takes_ms ?? 0);
    if (action.throws !== undefined) throw new Error(action.throws);
    return action.result;
  };
  const { result, usage } = await client.metered(request.customer_id, request.action_type, run, {
    ...options(request),
    checkAccess: request.check_access,
    reserve: request.reserve,
  });
  return { ...recordedFields(usage), result };
}

async function reserve(client: Meterline, request: Request): Promise<unknown> {
  const { customer_id, action_type, quantity = 1, reservation_id, expires_in_s } = request;
  const options = { reservationId: reservation_id, expiresInS: expires_in_s };
  return snakeCased(await client.reserve(customer_id, action_type, quantity, options));
}

function options(request: Request): EmitOptions {
  return {
    quantity: request.quantity,
    eventId: request.event_id,
    jobId: request.job_id,
    occurredAt: request.occurred_at,
    reservationId: request.reservation_id,
  };
}

/** `value` with its members called as the API calls them. */
function snakeCased(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(snakeCased);
  if (typeof value !== "object" || value === null) return value;
  const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [snake(name), snakeCased(member)]),
  );
}

function recordedFields(recorded: Recorded): Record<string, unknown> {
  return {
    event_id: recorded.eventId,
    status: recorded.status,
    duplicate: recorded.duplicate,
    quantity: recorded.quantity,
    customer_status: recorded.customerStatus,
    reservation: recorded.reservation,
  };
}

function errorFields(error: unknown): Record<string, unknown> {
  if (!(error instanceof MeterlineError)) {
    const message = error instanceof Error ? error.message : String(error);
    return { kind: "action_failed", retryable: false, message };
  }
  const { kind, retryable, type, eventId, reservationId, message } = error;
  return { kind, retryable, type, event_id: eventId, reservation_id: reservationId, message };
}

async function serve(line: string): Promise<void> {
  const request = JSON.parse(line) as Request;
  const { id } = request;
  const said = await answer(request).then(
    (ok) => ({ id, ok }),
    (error: unknown) => ({ id, error: errorFields(error) }),
  );
  process.stdout.write(`${JSON.stringify(said)}\n`);
}

const serving: Promise<void>[] = [];
for await (const line of createInterface({ input: process.stdin })) {
  serving.push(serve(line));
}
// Closed first: it sends what waits in the buffer for longer.
await client?.close();
await Promise.all(serving);
