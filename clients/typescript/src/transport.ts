import { InvalidUsage } from "./errors.js";
import { parseJson } from "./json.js";
import { traceHeaders } from "./telemetry.js";

/** What came of one HTTP request. */
export type Answer =
  | {
      readonly answered: true;
      readonly status: number;
      /** The body as JSON, or undefined where it is none. */
      readonly body: unknown;
      /** How long the server asks to wait. */
      readonly retryAfterMs: number | undefined;
    }
  | {
      readonly answered: false;
      /** False only where no connection came about, so that nothing can have been recorded. */
      readonly perhapsReached: boolean;
      /** What happened, in words. */
      readonly reason: string;
    };

/** The methods that the API is asked by. */
export type Method = "GET" | "POST" | "DELETE";

/** How to reach the API. */
export interface TransportOptions {
  url: string;
  apiKey: string;
  requestTimeoutMs: number;
  fetch: typeof fetch;
}

/** No answer of the API's is nearly as long: a batch's has a hundred results. */
const ANSWER_BYTES_MAX = 4 * 1024 * 1024;

/** As much as its seconds can say, of at most nine digits. */
const RETRY_AFTER_MS_MAX = 999_999_999_000;

/** Codes of Node's and of its HTTP client, for connections that never came about. */
const NEVER_CONNECTED = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/** The API under one key. Connections are kept alive by `fetch`. */
export class Transport {
  readonly #url: string;
  readonly #apiKey: string;
  readonly #requestTimeoutMs: number;
  readonly #fetch: typeof fetch;

  /** @throws {InvalidUsage} for an address or a key that cannot be used. */
  constructor(options: TransportOptions) {
    const { url, apiKey } = options;
    if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
      // It is not shown: it may be the key, where the two were mixed up.
      throw new InvalidUsage("url must be an http:// or https:// address");
    }
    if (typeof apiKey !== "string" || !/^[\x21-\x7e]+$/.test(apiKey)) {
      throw new InvalidUsage("the API key is missing, or no header can hold it");
    }
    this.#url = url.replace(/\/+$/, "");
    this.#apiKey = apiKey;
    this.#requestTimeoutMs = options.requestTimeoutMs;
    this.#fetch = options.fetch;
  }

  /**
   * One request, and the whole of its answer, within the request timeout, or within `timeoutMsMax`
   * where that is shorter. Never rejects.
   */
  async request(
    method: Method,
    path: string,
    body?: unknown,
    timeoutMsMax = this.#requestTimeoutMs,
  ): Promise<Answer> {
    const timeoutMs = Math.min(timeoutMsMax, this.#requestTimeoutMs);
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), timeoutMs);
    try {
      const response = await this.#fetch(`${this.#url}${path}`, {
        method,
        headers: {
          ...traceHeaders(),
          authorization: `Bearer ${this.#apiKey}`,
          ...(body !== undefined && { "content-type": "application/json" }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        // Following one would take the key, and perhaps the event, elsewhere.
        redirect: "manual",
        signal: timeout.signal,
      });
      return {
        answered: true,
        status: response.status,
        retryAfterMs: retryAfterMs(response.headers),
        body: parseJson(await wholeText(response)),
      };
    } catch (error) {
      if (timeout.signal.aborted) {
        const reason = `no answer within ${timeoutMs} ms`;
        return { answered: false, perhapsReached: true, reason };
      }
      const codes = causes(error);
      const perhapsReached = !codes.some((code) => NEVER_CONNECTED.has(code));
      return { answered: false, perhapsReached, reason: ["no answer", ...codes].join(": ") };
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The text of an answer, unless it is longer than any of the API's. */
async function wholeText({ body }: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  // To throw out of the loop ends the reading.
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES_MAX) throw new RangeError("the answer is too long");
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/**
 * How long `Retry-After` asks to wait: whole seconds, or until a date. That is held against the
 * answer's own date, since the server's clock and this one need not agree.
 */
function retryAfterMs(headers: Headers): number | undefined {
  const retryAfter = headers.get("retry-after")?.trim() ?? "";
  if (/^\d{1,9}$/.test(retryAfter)) return Number(retryAfter) * 1000;
  const waitMs = httpDateMs(retryAfter) - httpDateMs(headers.get("date") ?? "");
  if (Number.isNaN(waitMs)) return undefined;
  return Math.min(Math.max(waitMs, 0), RETRY_AFTER_MS_MAX);
}

/** A date in the form that servers send (RFC 9110, "Date/Time Formats"); not a number where it is none. */
function httpDateMs(date: string): number {
  const isOne = /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/.test(date);
  return isOne ? Date.parse(date) : Number.NaN;
}

/** The codes, or else the messages, of an error and of what caused it. */
function causes(error: unknown): string[] {
  const found: string[] = [];
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { code } = cause as NodeJS.ErrnoException;
    found.push(code ?? cause.message);
  }
  return found;
}
