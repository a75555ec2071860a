import type { Access } from "./access.js";
import { Meterline, type MeterlineOptions } from "./client.js";
import { sameContent, type UsageEvent, type WireEvent } from "./event.js";

/** What the next request meets in place of an answer. */
type Trouble = { readonly status: number; readonly body: object } | "drop";

/**
 * A Meterline for your own tests, in memory: a real client, and an API that remembers. Like the
 * real one it counts an id once and calls other content under it a conflict. Unlike it, every
 * customer exists.
 *
 * ```ts
 * const fake = new FakeMeterline();
 * await processDocument(fake.client(), "report.md");
 * assert.equal(fake.units("cus_1"), 1);
 * ```
 */
export class FakeMeterline {
  readonly #recorded = new Map<string, WireEvent>();
  readonly #denied = new Map<string, string>();
  readonly #troubles: Trouble[] = [];

  /** A client of this API, with the settings of {@link Meterline}. */
  client(options: MeterlineOptions = {}): Meterline {
    const url = "http://meterline.test";
    return new Meterline({ url, apiKey: "mk_test", ...options, fetch: this.#fetch });
  }

  /** What was recorded, in order, each event once. */
  get events(): (UsageEvent & { quantity: number; eventId: string })[] {
    return [...this.#recorded.values()].map((event) => ({
      customer: event.customer_id,
      action: event.action_type,
      quantity: event.quantity,
      eventId: event.event_id,
      occurredAt: event.occurred_at as string | undefined,
      subscriptionItem: event.subscription_item_id,
    }));
  }

  /** The units recorded for a customer, of one action or of all. */
  units(customer: string, action?: string): number {
    return this.events
      .filter((event) => event.customer === customer)
      .filter((event) => action === undefined || event.action === action)
      .reduce((units, event) => units + event.quantity, 0);
  }

  /** Has `checkAccess` say that the customer is suspended. */
  deny(customer: string, reason = "payments have failed for too long"): void {
    this.#denied.set(customer, reason);
  }

  /** Answers the next requests with a problem, and records nothing of them. */
  refuse(problem = "forbidden", status = 403, times = 1): void {
    this.#expect({ status, body: problemDocument(problem, status) }, times);
  }

  /** Answers the next requests as a gateway does that reaches nobody. */
  fail(status = 503, times = 1): void {
    this.#expect({ status, body: { message: "Service Unavailable" } }, times);
  }

  /** Breaks the connections of the next requests, before they are heard. */
  drop(times = 1): void {
    this.#expect("drop", times);
  }

  #expect(trouble: Trouble, times: number): void {
    for (let time = 0; time < times; time++) this.#troubles.push(trouble);
  }

  readonly #fetch: typeof fetch = async (input, init) => {
    const trouble = this.#troubles.shift();
    if (trouble === "drop") throw new TypeError("the connection was reset");
    if (trouble !== undefined) return Response.json(trouble.body, { status: trouble.status });
    const { pathname } = new URL(input instanceof Request ? input.url : input);
    if (pathname.endsWith("/access")) return Response.json(this.#access(pathname));
    const body = JSON.parse(String(init?.body)) as WireEvent | { events: WireEvent[] };
    if (!("events" in body)) {
      const [status, answer] = this.#record(body);
      return Response.json(answer, { status });
    }
    const results = body.events.map((event) => {
      const [status, answer] = this.#record(event);
      if (status === 200) return answer;
      return { event_id: event.event_id, status: "conflict", error: answer };
    });
    return Response.json({ results });
  };

  #access(pathname: string): Access {
    const customer = pathname.split("/").at(-2) ?? "";
    const reason = this.#denied.get(customer) ?? null;
    const allowed = reason === null;
    const status = allowed ? "active" : "suspended";
    return { allowed, reason, status, units: this.units(customer), limit: null };
  }

  #record(event: WireEvent): [number, object] {
    const { customer_id, event_id, quantity } = event;
    const key = `${customer_id}\n${event_id}`;
    const known = this.#recorded.get(key);
    if (known !== undefined && !sameContent(known, event)) {
      return [409, problemDocument("conflict", 409)];
    }
    if (known === undefined) this.#recorded.set(key, event);
    const customer_status = this.#denied.has(customer_id) ? "suspended" : "active";
    const duplicate = known !== undefined;
    return [200, { event_id, status: "delivered", duplicate, quantity, customer_status }];
  }
}

function problemDocument(problem: string, status: number): object {
  return { type: `urn:meterline:problem:${problem}`, title: problem, status, detail: "" };
}
