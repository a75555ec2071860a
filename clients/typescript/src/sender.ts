import { Backoff } from "./backoff.js";
import type { Problem } from "./errors.js";
import type { WireEvent } from "./event.js";
import { type Fate, fateOf, fatesOf, inDoubt, type Unclear } from "./fate.js";
import { limit } from "./limit.js";
import type { Runtime } from "./runtime.js";
import type { Answer, Transport } from "./transport.js";

/** An event on its way, and who is told what became of it. */
export interface Delivery {
  readonly event: WireEvent;
  /** No wait for a further attempt ends after this, by the runtime's clock. */
  readonly deadlineMs: number;
  /** Called once, when the fate is clear or the time is over. */
  settle(fate: Fate): void;
}

/** By which route: an event by itself, or a batch, whose results count each for itself. */
export type Route = "single" | "batch";

/** Statuses of the refusals that speak of the event itself: they come from the audit log. */
const ABOUT_THE_EVENT = new Set([409, 422]);
/** Statuses that a batch may get for one event of it that the API cannot read. */
const ABOUT_THE_BODY = new Set([400, 413, 415]);

/** Batches of callers under way at once. A batch is one request: more would wait for each other. */
const BATCHES_IN_FLIGHT_MAX = 8;

/** Sends events until their fate is clear. */
export class Sender {
  readonly #transport: Transport;
  readonly #runtime: Runtime;
  readonly #inTurn = limit(BATCHES_IN_FLIGHT_MAX);
  /** Whether the last request as a whole got no clear answer. */
  #unreachable = false;

  constructor(transport: Transport, runtime: Runtime) {
    this.#transport = transport;
    this.#runtime = runtime;
  }

  /** Whether the API had no clear answer to the last request. */
  get unreachable(): boolean {
    return this.#unreachable;
  }

  /** Sends the events together, and those without a clear answer again, until each is settled. */
  async deliver(deliveries: readonly Delivery[], route: Route): Promise<void> {
    const backoff = new Backoff(this.#runtime.random);
    const perhapsReached = new Set<Delivery>();
    let waiting = deliveries;
    while (waiting.length > 0) {
      const fates = await this.attempt(
        waiting.map(({ event }) => event),
        route,
      );
      const unsettled: [Delivery, Unclear][] = [];
      waiting.forEach((delivery, index) => {
        const fate = afterEarlierAttempts(fates[index] as Fate, perhapsReached.has(delivery));
        if (fate.fate !== "unclear" || fate.final) {
          delivery.settle(fate);
        } else {
          if (fate.perhapsReached) perhapsReached.add(delivery);
          unsettled.push([delivery, fate]);
        }
      });
      waiting = await this.#wait(unsettled, backoff);
    }
  }

  /** {@link deliver}s a batch of callers' events, once few enough others are under way. */
  deliverInTurn(deliveries: readonly Delivery[]): Promise<void> {
    return this.#inTurn(() => this.deliver(deliveries, "batch"));
  }

  /** One attempt for `events`, and its fates, in order. */
  async attempt(events: readonly WireEvent[], route: Route): Promise<Fate[]> {
    if (route === "single") {
      return Promise.all(events.map((event) => this.#attemptSingle(event)));
    }
    const answer = await this.#request("/v1/usage/batch", { events });
    if (answer.answered && ABOUT_THE_BODY.has(answer.status) && events.length > 1) {
      // One event must not take the others down with it.
      return Promise.all(events.map((event) => this.#attemptSingle(event)));
    }
    return fatesOf(events, answer);
  }

  async #attemptSingle(event: WireEvent): Promise<Fate> {
    return fateOf(event, await this.#request("/v1/usage", event));
  }

  async #request(path: string, body: unknown): Promise<Answer> {
    const answer = await this.#transport.request("POST", path, body);
    this.#unreachable = !answer.answered || answer.status >= 500 || answer.status === 429;
    return answer;
  }

  /** Settles what has no time left, waits, and says what is to be sent again. */
  async #wait(unsettled: [Delivery, Unclear][], backoff: Backoff): Promise<Delivery[]> {
    const askedMs = Math.max(0, ...unsettled.map(([, { retryAfterMs }]) => retryAfterMs ?? 0));
    const waitMs = backoff.nextWaitMs(askedMs);
    const resumesMs = this.#runtime.nowMs() + waitMs;
    const waiting: Delivery[] = [];
    for (const [delivery, fate] of unsettled) {
      if (resumesMs > delivery.deadlineMs) delivery.settle(fate);
      else waiting.push(delivery);
    }
    if (waiting.length > 0) await this.#runtime.sleep(waitMs);
    return waiting;
  }
}

/** What an attempt says after earlier ones. */
function afterEarlierAttempts(fate: Fate, perhapsReached: boolean): Fate & { final?: boolean } {
  if (fate.fate !== "refused" || !perhapsReached || speaksOfTheEvent(fate.problem)) return fate;
  return { ...inDoubt(fate.problem), final: true };
}

function speaksOfTheEvent(problem: Problem): boolean {
  return ABOUT_THE_EVENT.has(problem.status);
}
