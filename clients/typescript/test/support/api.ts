import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import type { WireEvent } from "../../src/event.js";
import type { WireReservation } from "../../src/reservation.js";

/** What goes wrong with one request. */
export type Fault =
  /** The work is done, and the answer lost. */
  | "lose_answer"
  /** The connection ends before the work is done. */
  | "reset"
  /** No answer at all, until the client gives up. */
  | "hang"
  /** A 200 that is cut off. */
  | "cut_answer"
  /** Another status in place of the work, with API Gateway's body unless a problem is named. */
  | { status: number; problem?: string; retryAfterS?: number; headers?: Record<string, string> }
  /** A 200 that says this. */
  | { says: object }
  /** Another status after the work. */
  | { statusAfter: number };

/** The body of a request. */
type Sent = WireEvent | { events: WireEvent[] };

/** Units that are held, or were. */
interface Reserved extends WireReservation {
  status: "held" | "released" | "settled";
}

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
  readonly traceparent: string | undefined;
  readonly events: readonly WireEvent[];
}

/** The API as far as a client can tell, over HTTP, with an audit log in memory and faults by order. */
export class TestApi {
  readonly #server: Server;
  /** Recorded events by customer and id. */
  readonly recorded = new Map<string, WireEvent>();
  /** Reservations by customer and id. */
  readonly reserved = new Map<string, Reserved>();
  /** Of every customer, in units. */
  limit = Number.POSITIVE_INFINITY;
  readonly requests: SeenRequest[] = [];
  /** What is said of access besides. */
  accessMembers: object = {};
  /** What goes wrong with the next requests, one each. */
  readonly faults: Fault[] = [];
  /** Called before each request is answered. */
  beforeAnswer: () => Promise<void> = async () => {};

  private constructor() {
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
  }

  static async start(): Promise<TestApi> {
    const api = new TestApi();
    await new Promise<void>((listening) => api.#server.listen(0, "127.0.0.1", listening));
    return api;
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  get units(): number {
    return [...this.recorded.values()].reduce((units, event) => units + event.quantity, 0);
  }

  get heldUnits(): number {
    return [...this.reserved.values()]
      .filter(({ status }) => status === "held")
      .reduce((units, { quantity }) => units + quantity, 0);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((closed) => this.#server.close(closed));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await text(request);
    const sent = body === "" ? { events: [] } : (JSON.parse(body) as Sent);
    const { method = "", url: path = "" } = request;
    const { authorization, traceparent } = request.headers;
    this.requests.push({
      method,
      path,
      authorization,
      traceparent: String(traceparent),
      events: eventsOf(sent),
    });
    const fault = this.faults.shift();
    await this.beforeAnswer();
    if (fault === "reset") return void request.socket.resetAndDestroy();
    if (fault === "hang") return;
    if (typeof fault === "object" && "status" in fault) {
      if (fault.retryAfterS !== undefined) response.setHeader("retry-after", fault.retryAfterS);
      if (fault.headers !== undefined) setHeaders(response, fault.headers);
      return json(response, fault.status, inPlaceOfWork(fault));
    }
    const [status, answer] = this.#answer(path, sent);
    if (fault === "lose_answer") return void request.socket.destroy();
    if (fault === "cut_answer") return json(response, 200, undefined);
    if (typeof fault === "object" && "says" in fault) return json(response, 200, fault.says);
    if (typeof fault === "object") return json(response, fault.statusAfter, { message: null });
    json(response, status, answer);
  }

  #answer(path: string, sent: Sent): [number, object] {
    const { pathname, searchParams } = new URL(path, this.url);
    if (pathname.endsWith("/access")) {
      const allowed = !path.includes("cus_suspended");
      const status = allowed ? "active" : "suspended";
      const reason = allowed ? null : "payments have failed for too long";
      return [200, { allowed, reason, status, units: 0, limit: null, ...this.accessMembers }];
    }
    if (pathname === "/v1/usage/reservations") return this.#reserve(sent as WireReservation);
    if (pathname.startsWith("/v1/usage/reservations/")) {
      return this.#release(searchParams.get("customer_id"), pathname.split("/").at(-1));
    }
    if (!("events" in sent)) return this.#record(sent);
    const results = sent.events.map((event) => {
      const [status, answer] = this.#record(event);
      if (status < 300) return answer;
      return { event_id: event.event_id, status: "invalid", error: answer };
    });
    return [200, { results }];
  }

  #record(event: WireEvent): [number, object] {
    if (event.customer_id === "cus_unknown") return [404, problem("customer-not-found", 404)];
    if (event.customer_id === "cus_foreign") return [403, problem("forbidden", 403)];
    const key = `${event.customer_id}\n${event.event_id}`;
    const known = this.recorded.get(key);
    if (known !== undefined && contentOf(known) !== contentOf(event)) {
      return [409, problem("conflict", 409)];
    }
    const { event_id, quantity } = event;
    const duplicate = known !== undefined;
    const reservation = this.#settle(known ?? event);
    this.recorded.set(key, known ?? event);
    const recorded = { event_id, status: "delivered", duplicate, quantity };
    return [200, { ...recorded, customer_status: "active", reservation }];
  }

  #settle({ customer_id, reservation_id }: WireEvent): string | undefined {
    if (reservation_id === undefined) return undefined;
    const reserved = this.reserved.get(`${customer_id}\n${reservation_id}`);
    if (reserved === undefined) return "unknown";
    if (reserved.status === "held") reserved.status = "settled";
    return reserved.status;
  }

  #reserve(wanted: WireReservation): [number, object] {
    const { customer_id, reservation_id, quantity } = wanted;
    const key = `${customer_id}\n${reservation_id}`;
    const known = this.reserved.get(key);
    if (known !== undefined) {
      if (known.status === "held" && known.quantity === quantity) return [200, shown(known)];
      return [409, { ...problem("conflict", 409), reservation_status: known.status }];
    }
    const left_units = this.limit - this.units - this.heldUnits;
    if (quantity > left_units) return [402, { ...problem("limit-reached", 402), left_units }];
    const reserved: Reserved = { ...wanted, status: "held" };
    this.reserved.set(key, reserved);
    return [201, shown(reserved)];
  }

  #release(customer: string | null, reservationId: string | undefined): [number, object] {
    const reserved = this.reserved.get(`${customer}\n${reservationId}`);
    if (reserved === undefined) return [404, problem("not-found", 404)];
    if (reserved.status === "held") reserved.status = "released";
    return [200, shown(reserved)];
  }
}

/** The events of a request, which may be about something else. */
function eventsOf(sent: Sent): WireEvent[] {
  if ("events" in sent) return sent.events;
  return "event_id" in sent ? [sent] : [];
}

function inPlaceOfWork({ problem: type, status }: { problem?: string; status: number }): object {
  return type === undefined ? { message: "Service Unavailable" } : problem(type, status);
}

/** Sets these, and no date unless it is among them. */
function setHeaders(response: ServerResponse, headers: Record<string, string>): void {
  response.sendDate = false;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
}

function shown({ customer_id, reservation_id, quantity, status }: Reserved): object {
  return { customer_id, reservation_id, quantity, status, expires_at: "2026-01-31T12:05:00Z" };
}

/** What happened. A reservation says where its units were held. */
function contentOf({ reservation_id: _, ...content }: WireEvent): string {
  return JSON.stringify(content);
}

function problem(type: string, status: number): object {
  return { type: `urn:meterline:problem:${type}`, title: type, status, detail: "as it is" };
}

export async function text(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString("utf8");
}

export function json(response: ServerResponse, status: number, body: object | undefined): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(body === undefined ? '{"event_id": "' : JSON.stringify(body));
}
