import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import type { WireEvent } from "../../src/event.js";

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
  /** Another status in place of the work, with API Gateway's body. */
  | { status: number; retryAfterS?: number; location?: string }
  /** A 200 that says this. */
  | { says: object }
  /** Another status after the work. */
  | { statusAfter: number };

/** The body of a request. */
type Sent = WireEvent | { events: WireEvent[] };

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
  readonly requests: SeenRequest[] = [];
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

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((closed) => this.#server.close(closed));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await text(request);
    const sent = body === "" ? { events: [] } : (JSON.parse(body) as Sent);
    const events = "events" in sent ? sent.events : [sent];
    const { method = "", url: path = "" } = request;
    const { authorization, traceparent } = request.headers;
    this.requests.push({ method, path, authorization, traceparent: String(traceparent), events });
    const fault = this.faults.shift();
    await this.beforeAnswer();
    if (fault === "reset") return void request.socket.resetAndDestroy();
    if (fault === "hang") return;
    if (typeof fault === "object" && "status" in fault) {
      if (fault.retryAfterS !== undefined) response.setHeader("retry-after", fault.retryAfterS);
      if (fault.location !== undefined) response.setHeader("location", fault.location);
      return json(response, fault.status, { message: "Service Unavailable" });
    }
    const [status, answer] = this.#answer(path, sent);
    if (fault === "lose_answer") return void request.socket.destroy();
    if (fault === "cut_answer") return json(response, 200, undefined);
    if (typeof fault === "object" && "says" in fault) return json(response, 200, fault.says);
    if (typeof fault === "object") return json(response, fault.statusAfter, { message: null });
    json(response, status, answer);
  }

  #answer(path: string, sent: Sent): [number, object] {
    if (path.endsWith("/access")) {
      const allowed = !path.includes("cus_suspended");
      const status = allowed ? "active" : "suspended";
      const reason = allowed ? null : "payments have failed for too long";
      return [200, { allowed, reason, status, units: 0, limit: null }];
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
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(event)) {
      return [409, problem("conflict", 409)];
    }
    this.recorded.set(key, event);
    const { event_id, quantity } = event;
    const duplicate = known !== undefined;
    return [200, { event_id, status: "delivered", duplicate, quantity, customer_status: "active" }];
  }
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
