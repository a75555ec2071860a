import { Meterline, type MeterlineOptions } from "./client.js";
import { sameContent, type UsageEvent, usageEvent, type WireEvent } from "./event.js";
import { FakeLimits, problemDocument } from "./fake_limits.js";
import type { ReservationOutcome } from "./recorded.js";
import type { WireReservation } from "./reservation.js";
import { RESERVATIONS_PATH } from "./reservations.js";

/** What the next request meets in place of an answer. */
type Trouble = { readonly status: number; readonly body: object } | "drop";

/** An event, and what became of the reservation that it named. */
interface Kept {
  readonly event: WireEvent;
  readonly reservation?: ReservationOutcome;
}

/**
 * A Meterline for your own tests, in memory: a real client, and an API that remembers. Like the
 * real one it counts an id once and calls other content under it a conflict, and it holds no more than
 * a limit leaves. Unlike it, every customer exists, every action is counted by one meter, and what is
 * held expires only when it is told to.
 *
 * ```ts
 * const fake = new FakeMeterline();
 * await processDocument(fake.client(), "report.md");
 * assert.equal(fake.units("cus_1"), 1);
 * ```
 */
export class FakeMeterline {
  readonly #recorded = new Map<string, Kept>();
  readonly #limits = new FakeLimits((customer) => this.units(customer));
  readonly #denied = new Map<string, string>();
  readonly #troubles: Trouble[] = [];

  /** A client of this API, with the settings of {@link Meterline}. */
  client(options: MeterlineOptions = {}): Meterline {
    const url = "http://meterline.test";
    return new Meterline({ url, apiKey: "mk_test", ...options, fetch: this.#fetch });
  }

  /** What was recorded, in order, each event once. */
  get events(): (UsageEvent & { quantity: number; eventId: string })[] {
    return [...this.#recorded.values()].map(({ event }) => usageEvent(event));
  }

  /** The units recorded for a customer, of one action or of all. */
  units(customer: string, action?: string): number {
    return this.events
      .filter((event) => event.customer === customer)
      .filter((event) => action === undefined || event.action === action)
      .reduce((units, event) => units + event.quantity, 0);
  }

  /** Sets a customer's hard limit, in units; null takes it away. Usage above it is recorded all the same. */
  limit(customer: string, units: number | null): void {
    this.#limits.set(customer, units);
  }

  /** The units that reservations hold for a customer. */
  heldUnits(customer: string): number {
    return this.#limits.heldUnits(customer);
  }

  /** Ends a reservation, if its units are held, as the API does when its time is over. */
  expire(customer: string, reservationId: string): void {
    const [status] = this.#limits.end(customer, reservationId, "expired");
    if (status === 404) throw new Error(`${customer} has no reservation ${reservationId}`);
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
    const url = new URL(input instanceof Request ? input.url : input);
    const [status, answer] = this.#answer(url, String(init?.body));
    return Response.json(answer, { status });
  };

  #answer({ pathname, searchParams }: URL, body: string): [number, object] {
    if (pathname.endsWith("/access")) return [200, this.#access(pathname, searchParams)];
    if (pathname.startsWith(`${RESERVATIONS_PATH}/`)) {
      const customer = searchParams.get("customer_id") ?? "";
      return this.#limits.end(customer, pathname.split("/").at(-1) ?? "", "released");
    }
    const sent: unknown = JSON.parse(body);
    if (pathname === RESERVATIONS_PATH) return this.#limits.reserve(sent as WireReservation);
    if (pathname === "/v1/usage") return this.#record(sent as WireEvent);
    const results = (sent as { events: WireEvent[] }).events.map((event) => {
      const [status, answer] = this.#record(event);
      if (status === 200) return answer;
      return { event_id: event.event_id, status: "conflict", error: answer };
    });
    return [200, { results }];
  }

  #access(pathname: string, query: URLSearchParams): object {
    const customer = pathname.split("/").at(-2) ?? "";
    const denied = this.#denied.get(customer);
    const reason = denied ?? this.#limits.refusal(customer, Number(query.get("units")));
    return {
      allowed: reason === null,
      reason,
      status: denied === undefined ? "active" : "suspended",
      units: this.units(customer),
      limit: this.#limits.units(customer),
      spending_limit: this.#limits.shown(customer),
    };
  }

  #record(event: WireEvent): [number, object] {
    const { customer_id, event_id, quantity } = event;
    const key = `${customer_id}\n${event_id}`;
    const known = this.#recorded.get(key);
    if (known !== undefined && !sameContent(known.event, event)) {
      return [409, problemDocument("conflict", 409)];
    }
    const kept = known ?? this.#settled(event);
    this.#recorded.set(key, kept);
    const customer_status = this.#denied.has(customer_id) ? "suspended" : "active";
    const duplicate = known !== undefined;
    const { reservation } = kept;
    const answer = {
      event_id,
      status: "delivered",
      duplicate,
      quantity,
      customer_status,
      reservation,
    };
    return [200, answer];
  }

  #settled(event: WireEvent): Kept {
    if (event.reservation_id === undefined) return { event };
    return { event, reservation: this.#limits.settle(event.customer_id, event.reservation_id) };
  }
}
