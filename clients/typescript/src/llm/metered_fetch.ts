import { InvalidUsage } from "../errors.js";
import { type Billing, requireAccess } from "./billing.js";
import { meteredAnswer, meteredStream } from "./metered_body.js";
import type { Prepared, Provider, Route } from "./provider.js";

/** Headers that the APIs know their callers by. */
const KEYS = ["authorization", "api-key", "x-api-key"];

/**
 * A `fetch` for a provider's SDK that records what answers report before they are handed out.
 * `baseURL` says where the SDK's client has its API.
 */
export function meteredFetch(
  original: typeof fetch,
  provider: Provider,
  billing: Billing,
  baseURL: () => unknown,
): typeof fetch {
  return async (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const { pathname } = url;
    const route = routeOf(provider, url, init, baseURL());
    if (route === "free") return original(input, init);
    let prepared: Prepared;
    try {
      prepared = prepare(provider, route, pathname, init.body);
      await requireAccess(billing);
    } catch (error) {
      return failing(error, init);
    }
    const upstream = new Upstream(init.signal);
    const response = await upstream.fetch(original, input, withRequestBody(init, prepared.body));
    if (!response.ok || response.body === null) return response;
    if (isStream(response)) {
      upstream.detach();
      const reader = provider.readStream(pathname, prepared);
      return withBody(response, meteredStream(response.body, reader, billing, upstream));
    }
    return withBody(response, meteredAnswer(response, provider, billing, upstream));
  };
}

function routeOf(provider: Provider, url: URL, init: RequestInit, baseURL: unknown): Route {
  // What is only read was billed when it was made.
  if (init.method?.toUpperCase() !== "POST") return "free";
  const route = provider.route(url.pathname);
  return route === "unknown" && isElsewhere(url, init, baseURL) ? "free" : route;
}

/**
 * Whether a request is none to the model's API: it goes elsewhere than to `baseURL`, and bears no
 * key, as one does by which the SDK gets its key. One with a key may be of a copy of the client that
 * has the API at another address.
 */
function isElsewhere(url: URL, { headers }: RequestInit, baseURL: unknown): boolean {
  if (typeof baseURL !== "string" || !URL.canParse(baseURL)) return false;
  if (url.origin === new URL(baseURL).origin) return false;
  const sent = new Headers(headers);
  return !KEYS.some((name) => sent.has(name));
}

/** @throws {InvalidUsage} for what cannot be metered: unbilled use must not go unseen. */
function prepare(
  provider: Provider,
  route: Route,
  pathname: string,
  body: RequestInit["body"],
): Prepared {
  if (route === "unknown" || typeof body !== "string") {
    throw new InvalidUsage(`POST ${pathname} is not metered: make it with the client itself`);
  }
  return provider.prepare(pathname, body);
}

/** A request with an end of its own, which at first is its caller's. */
export class Upstream {
  readonly #controller = new AbortController();
  /** The caller's. */
  readonly signal: AbortSignal | undefined;

  constructor(signal: AbortSignal | null | undefined) {
    this.signal = signal ?? undefined;
    if (signal?.aborted) this.abort();
    signal?.addEventListener("abort", this.abort, { once: true });
  }

  readonly abort = (): void => this.#controller.abort(this.signal?.reason);

  /** Lets the request go on when its caller leaves: its report may be about to come. */
  detach(): void {
    this.signal?.removeEventListener("abort", this.abort);
  }

  async fetch(
    original: typeof fetch,
    input: Parameters<typeof fetch>[0],
    init: RequestInit,
  ): Promise<Response> {
    try {
      return await original(input, { ...init, signal: this.#controller.signal });
    } catch (error) {
      this.detach();
      throw error;
    }
  }
}

function isStream(response: Response): boolean {
  return response.headers.get("content-type")?.includes("text/event-stream") ?? false;
}

function withRequestBody(init: RequestInit, body: string): RequestInit {
  if (body === init.body) return init;
  const headers = new Headers(init.headers);
  headers.delete("content-length");
  return { ...init, headers, body };
}

/** `response` with another body, which is not encoded and of another length perhaps. */
function withBody(response: Response, body: ReadableStream<Uint8Array>): Response {
  const headers = new Headers(response.headers);
  headers.delete("content-length");
  headers.delete("content-encoding");
  const { status, statusText, url } = response;
  const changed = new Response(body, { status, statusText, headers });
  Object.defineProperty(changed, "url", { value: url });
  return changed;
}

/**
 * An answer that fails with `error` when it is read. An SDK would take an error of the request
 * itself for one of the network, and try again.
 */
function failing(error: unknown, { body }: RequestInit): Response {
  const asksForStream = typeof body === "string" && /"stream"\s*:\s*true/.test(body);
  const failed = new ReadableStream({ start: (controller) => controller.error(error) });
  const contentType = asksForStream ? "text/event-stream" : "application/json";
  return new Response(failed, { headers: { "content-type": contentType } });
}
